package web

import (
	"net/url"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/dnscheck"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/dkim"
)

// dnsPage is what the page "dns" shows of one domain.
type dnsPage struct {
	Domains   []admin.DomainSummary
	Domain    addr.Domain // "" if none is hosted
	Records   []dnscheck.Checked
	Keys      []admin.DKIMKey
	MayChange bool
}

// showDNS shows the records of the domain that the address names, or of the first one, and asks DNS
// about them. The verb limits the time of that.
func showDNS(r *request) (view, error) {
	var p dnsPage
	var err error
	if p.Domains, err = admin.DomainList.Do(r.Context(), r.service, struct{}{}); err != nil {
		return view{}, err
	}
	domain := r.FormValue("domain")
	for _, d := range p.Domains {
		if domain == "" && (p.Domain == "" || d.Default) {
			p.Domain = d.Domain
		}
	}
	if domain == "" {
		domain = string(p.Domain)
	}
	if domain == "" {
		return view{"dns", "DNS records", p}, nil
	}
	var all []admin.DomainRecords
	r.elsewhere(func() {
		q := admin.DNSQuestion{Domain: domain, Check: true}
		all, err = admin.DNSRecords.Do(r.Context(), r.service, q)
	})
	if err != nil {
		return view{}, err
	}
	p.Domain, p.Records = all[0].Domain, all[0].Records
	p.MayChange = r.operator.May(p.Domain, true)
	p.Keys, err = admin.DKIMShow.Do(r.Context(), r.service, domain)
	return view{"dns", "DNS records", p}, err
}

// Over reports whether a key's record is to be removed from DNS.
func (p dnsPage) Over(k admin.DKIMKey) bool { return k.State == dkim.Over }

// Class is the colour of a record's state. An optional one that is missing needs nothing.
func (p dnsPage) Class(c dnscheck.Checked) string {
	switch {
	case c.State == dnscheck.Right:
		return "good"
	case c.State == dnscheck.Unknown:
		return "warning"
	case c.State == dnscheck.Missing && c.Optional:
		return ""
	}
	return "bad"
}

func dkimActs() map[string]act {
	return map[string]act{"create": createKey, "rotate": rotateKey, "remove": removeKey}
}

// keyOrder is the key that a form asks for.
func (r *request) keyOrder() admin.DKIMOrder {
	return admin.DKIMOrder{Domain: r.field("domain"), Selector: r.field("selector"), Type: r.field("type"),
		Now: r.PostFormValue("now") != ""}
}

// dnsDone is the outcome of a verb on a key: the page of its domain, with the record to publish.
func (r *request) dnsDone(text string, warnings ...string) outcome {
	return outcome{next: "/dns?domain=" + url.QueryEscape(r.field("domain")),
		notice: notice{Text: text, Warnings: warnings}}
}

func createKey(r *request) (outcome, error) {
	k, err := admin.DKIMCreate.Do(r.Context(), r.service, r.keyOrder())
	if err != nil {
		return outcome{}, err
	}
	return r.dnsDone(r.words.T("The key %s is made and signs. Publish its record today.", k.Selector)), nil
}

func rotateKey(r *request) (outcome, error) {
	all, err := admin.DKIMRotate.Do(r.Context(), r.service, r.keyOrder())
	if err != nil {
		return outcome{}, err
	}
	k := all[len(all)-1]
	if k.State == dkim.Waiting {
		return r.dnsDone(r.words.T("The key %s is made and signs from %s on. Publish its record today.",
			k.Selector, r.words.Time(k.From))), nil
	}
	return r.dnsDone(r.words.T("The key %s is made and signs. Publish its record today.", k.Selector)), nil
}

func removeKey(r *request) (outcome, error) {
	c, err := admin.DKIMRemove.Do(r.Context(), r.service, admin.DKIMToRemove{
		Domain: r.field("domain"), Selector: r.field("selector"), Sure: r.sure()})
	if err != nil {
		return outcome{}, err
	}
	return r.dnsDone(c.Text, c.Warnings...), nil
}
