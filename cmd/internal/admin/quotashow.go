package admin

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/quota"
)

// QuotaState compares the use of a mailbox or a domain with its limits.
type QuotaState string

// The values of QuotaState.
const (
	QuotaOK      QuotaState = "ok"
	QuotaWarning QuotaState = "warning" // the warning level is reached
	QuotaFull    QuotaState = "full"    // a limit is reached
	QuotaDamaged QuotaState = "damaged" // the account cannot be read, so its limits are unknown
)

// QuotaStatus is the use and the limits of a mailbox or a domain.
type QuotaStatus struct {
	Target string `json:"target"` // the mailbox's address, or the domain
	Domain bool   `json:"domain"`
	quota.Usage
	Percent int        `json:"percent"` // the larger percentage of the two limits; 0 without limits
	State   QuotaState `json:"state"`
	Limits  QuotaLimit `json:"limits"` // the effective limits, with defaults
	Own     OwnQuota   `json:"own"`    // the limits that are set for the target itself
	// Within is the status of the mailbox's domain if the domain has limits. Only ShowQuota sets
	// it.
	Within *QuotaStatus `json:"within,omitempty"`

	dir string
}

// QuotaLimit is quota.Limits in JSON.
type QuotaLimit struct {
	Bytes        int64 `json:"bytes"` // 0 means no limit, in every field
	Messages     int64 `json:"messages"`
	WarnBytes    int64 `json:"warn_bytes"`
	WarnMessages int64 `json:"warn_messages"`
}

// OwnQuota are the limits that are set for a mailbox or a domain itself, in the form of 'quota
// set': "default", "none", "100MB".
type OwnQuota struct {
	Size         string `json:"size"`
	Messages     string `json:"messages"`
	Warn         string `json:"warn"`
	WarnMessages string `json:"warn_messages"`
}

// Sentence describes the effective limits: "may hold 100MB and 500 messages, with a warning at
// 90MB".
func (s QuotaStatus) Sentence() string {
	var most, warn []string
	l := s.Limits
	if l.Bytes > 0 {
		most = append(most, quota.FormatSize(l.Bytes))
	}
	if l.Messages > 0 {
		most = append(most, quota.FormatMessages(l.Messages))
	}
	if l.WarnBytes > 0 {
		warn = append(warn, quota.FormatSize(l.WarnBytes))
	}
	if l.WarnMessages > 0 {
		warn = append(warn, quota.FormatMessages(l.WarnMessages))
	}
	text := "may hold any amount of mail"
	if most != nil {
		text = "may hold " + strings.Join(most, " and ")
	}
	if warn != nil {
		text += ", with a warning at " + strings.Join(warn, " and ")
	}
	return text
}

func ownQuota(l directory.Limits) OwnQuota {
	limit := func(n int64, format func(int64) string) string {
		switch {
		case n == 0:
			return "default"
		case n < 0:
			return "none"
		}
		return format(n)
	}
	level := func(l directory.Level, format func(int64) string) string {
		switch n := l.Of(0, 0); {
		case l == "":
			return "default"
		case n > 0:
			return format(n)
		}
		return string(l)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return OwnQuota{
		Size: limit(l.Quota, quota.FormatSize), Messages: limit(l.MaxMessages, number),
		Warn: level(l.Warn, quota.FormatSize), WarnMessages: level(l.WarnMessages, number),
	}
}

func newStatus(target string, isDomain bool, l quota.Limits, own directory.Limits, used quota.Usage) QuotaStatus {
	s := QuotaStatus{
		Target: target, Domain: isDomain, Usage: used, Percent: l.Percent(used), State: QuotaOK,
		Limits: QuotaLimit(l), Own: ownQuota(own),
	}
	if _, warned := l.Warns(used); s.Percent >= 100 {
		s.State = QuotaFull
	} else if warned {
		s.State = QuotaWarning
	}
	return s
}

// ShowQuota counts the mail of a mailbox or a domain, and returns its limits.
func (o *Service) ShowQuota(target string) (QuotaStatus, error) {
	d, isDomain, err := o.targetDomain(target, "quota list")
	if err != nil {
		return QuotaStatus{}, err
	}
	if isDomain {
		if err := o.Require(d, false); err != nil {
			return QuotaStatus{}, err
		}
		return o.domainQuota(d)
	}
	box, err := o.mailbox(target)
	if err != nil {
		return QuotaStatus{}, err
	}
	s, err := o.mailboxQuota(box)
	if err == nil && o.domainLimits(box.DomainLimits) != (quota.Limits{}) {
		var within QuotaStatus
		within, err = o.domainQuota(box.Address.Domain)
		s.Within = &within
	}
	return s, err
}

func (o *Service) mailboxQuota(box directory.Mailbox) (QuotaStatus, error) {
	used, err := o.usage(box.Dir)
	s := newStatus(box.Address.String(), false, o.limitsOf(box), box.Account.Limits, used)
	if box.Damage != nil {
		s = newStatus(box.Address.String(), false, quota.Limits{}, directory.Limits{}, used)
		s.State = QuotaDamaged
	}
	s.dir = box.Dir
	return s, err
}

// domainQuota counts all mailboxes of a domain.
func (o *Service) domainQuota(d addr.Domain) (QuotaStatus, error) {
	file, err := o.Dir.Domain(d)
	if err != nil {
		return QuotaStatus{}, o.explain(err, d, "domain list")
	}
	dirs, err := o.Dir.MailboxDirs(d)
	if err != nil {
		return QuotaStatus{}, o.explain(err, d, "domain list")
	}
	var sum quota.Usage
	for _, dir := range dirs {
		used, err := o.usage(dir)
		if err != nil {
			return QuotaStatus{}, err
		}
		sum = sum.Add(used)
	}
	return newStatus(string(d), true, o.domainLimits(file.Limits), file.Limits, sum), nil
}

// ListQuotas counts the mail of each mailbox of a domain, or of all domains for "". A domain with
// limits is in the list before its mailboxes. The list leaves out entries below percent.
func (o *Service) ListQuotas(domain string, percent int) ([]QuotaStatus, error) {
	all := []QuotaStatus{}
	err := o.files(domain, func(d addr.Domain, file *directory.DomainFile) error {
		boxes, err := o.Dir.MailboxesAsFound(d)
		if err != nil {
			return err
		}
		at, sum := len(all), quota.Usage{}
		for _, box := range boxes {
			one, err := o.mailboxQuota(box)
			if err != nil {
				return err
			}
			sum = sum.Add(one.Usage)
			if one.Percent >= percent {
				all = append(all, one)
			}
		}
		if l := o.domainLimits(file.Limits); l != (quota.Limits{}) {
			whole := newStatus(string(d), true, l, file.Limits, sum)
			if len(boxes) > 0 {
				whole.dir = path.Dir(boxes[0].Dir)
			}
			if whole.Percent >= percent {
				all = slices.Insert(all, at, whole)
			}
		}
		return nil
	})
	return all, err
}

// QuotaQuestion asks for the mailboxes of a domain, or of all for "", of whose limit at least so
// many per cent are used.
type QuotaQuestion struct {
	Domain  string
	Percent int
}

func (o *Service) listQuotas(q QuotaQuestion) ([]QuotaStatus, error) {
	return o.ListQuotas(q.Domain, q.Percent)
}

// recalculate counts anew, in the running server too.
func (o *Service) recalculate(q QuotaQuestion) ([]QuotaCount, error) {
	if _, err := o.ListQuotas(q.Domain, q.Percent); err != nil {
		return nil, err // the server need not count because of a typing error
	}
	server, err := o.recount()
	if errors.Is(err, ErrNotRunning) {
		o.note("the server is not running: there is no count to correct, and it counts when it starts")
	} else if err != nil {
		return nil, err
	}
	return o.CountQuotas(q.Domain, q.Percent, server)
}

// recount makes the running server count anew every mailbox and domain that it has counted. It
// returns what the server believed and what it found.
func (o *Service) recount() ([]quota.Recount, error) {
	if o.Running == nil {
		return nil, ErrNotRunning
	}
	return o.Quota.Recount()
}

// QuotaCount is the result of a recount for a mailbox or a domain.
type QuotaCount struct {
	QuotaStatus
	// Believed is the count of the running server before the recount; null if it had none or does
	// not run.
	Believed *quota.Usage `json:"believed"`
}

// CountQuotas is ListQuotas with the result of a recount by the running server.
func (o *Service) CountQuotas(domain string, percent int, server []quota.Recount) ([]QuotaCount, error) {
	list, err := o.ListQuotas(domain, percent)
	counted := make(map[string]quota.Recount, len(server))
	for _, r := range server {
		counted[r.Dir] = r
	}
	all := make([]QuotaCount, len(list))
	for i, s := range list {
		all[i].QuotaStatus = s
		if r, ok := counted[s.dir]; ok && s.dir != "" {
			all[i].Usage, all[i].Believed = r.After, &r.Before // from the same moment: any difference is an error
		}
	}
	return all, err
}

// Percent parses a percentage; the sign is optional.
func Percent(text string) (int, error) {
	digits, _ := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0, Hint(fmt.Errorf("%q is not a percentage", text), "write it like 80%%")
	}
	return int(n), nil
}
