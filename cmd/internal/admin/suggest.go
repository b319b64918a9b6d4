package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/devices"
	"pillarbox/smtp/policy"
)

const (
	journalLook    = 20000 // records; more than the two files hold of the usual ones
	suggestAttempt = 20
)

// Suggested is a suggestion for one machine, or else the attempts of all.
type Suggested struct {
	Suggestion *Suggestion
	Attempts   []decisionlog.Attempt // see RefusedStrangers
}

// suggestDevices makes a suggestion for an address, or lists the refused attempts for "".
func (o *Service) suggestDevices(ip string) (out Suggested, err error) {
	if ip == "" {
		out.Attempts, err = o.RefusedStrangers()
		return out, err
	}
	s, err := o.SuggestDevice(ip)
	out.Suggestion = &s
	return out, err
}

// RefusedStrangers are the last attempts to send that were refused, of machines
// that are no devices, at most 20, the newest last.
func (o *Service) RefusedStrangers() ([]decisionlog.Attempt, error) {
	attempts, err := o.refused(suggestAttempt)
	return append([]decisionlog.Attempt{}, attempts...), err
}

func (o *Service) refused(limit int) ([]decisionlog.Attempt, error) {
	if _, err := o.Devices.List(); err != nil {
		return nil, o.explainDevice(err)
	}
	records, err := decisionlog.Recent(o.Root, journalLook)
	if err != nil {
		return nil, o.explainDevice(err)
	}
	return decisionlog.RefusedUnknown(records, func(ip netip.Addr) bool {
		_, known := o.Devices.Lookup(ip)
		return known
	}, limit), nil
}

// Suggestion is a device that would be let do what a machine has tried in vain.
type Suggestion struct {
	Command  string   `json:"command"`
	Name     string   `json:"name"`
	Warnings []string `json:"warnings"` // what the person should know before
}

// SuggestDevice makes a device of a machine that was refused.
func (o *Service) SuggestDevice(ip string) (Suggestion, error) {
	remote, err := ParseClient(ip)
	if err != nil {
		return Suggestion{}, err
	}
	remote = remote.Unmap().WithZone("")
	if d, ok := o.Devices.Lookup(remote); ok {
		return Suggestion{}, Hint(fmt.Errorf("%s is the device %s already", remote, d.Name), "'pillarbox admin device show %s' shows what it may", d.Name)
	}
	all, err := o.refused(journalLook)
	if err != nil {
		return Suggestion{}, err
	}
	tried := slices.DeleteFunc(all, func(a decisionlog.Attempt) bool { return a.Facts.Remote.Unmap().WithZone("") != remote })
	if len(tried) == 0 {
		return Suggestion{}, Hint(fmt.Errorf("nothing of %s has been refused lately", remote),
			"send something from it, and ask again; 'pillarbox admin device suggest' alone shows the addresses that were refused")
	}
	name, err := o.deviceName(tried)
	if err != nil {
		return Suggestion{}, err
	}
	d := policy.Device{Name: name, Networks: []netip.Prefix{netip.PrefixFrom(remote, remote.BitLen())}}
	return o.suggest(d, tried), nil
}

// suggest asks for no more than what was tried: mailboxes here, unless it wrote
// elsewhere; a sender of its own only when it has none of this server's.
func (o *Service) suggest(d policy.Device, tried []decisionlog.Attempt) Suggestion {
	s := Suggestion{Name: d.Name, Warnings: []string{}}
	warn := func(text string, args ...any) { s.Warnings = append(s.Warnings, fmt.Sprintf(text, args...)) }
	named := false
	for _, a := range tried {
		f := &a.Facts
		named = named || !f.To.IsZero()
		d.Outside = d.Outside || f.Kind == policy.RecipientRemote
		if d.As.IsZero() && !f.From.IsZero() && !f.FromHosted {
			d.As = addr.Address{Local: strings.ToLower(d.Name), Domain: o.someDomain()}
			warn("it calls itself %s, which is no address here; its mail will come from %s", f.From, d.As)
		}
	}
	if !named {
		warn("it was refused before it said to whom it writes; if that is on other servers, say --may-send-to all")
	}
	for _, a := range tried {
		// Some refusals are none of a device's business.
		a.Facts.Device = &d
		if still := atStage(&o.Config().Policy, a.Record); still.Verdict == policy.Refuse {
			warn("as a device it would still be refused: %s (to allow it: %s)", still.Reply.Text, still.Remedy)
		}
	}
	s.Command = fmt.Sprintf("pillarbox admin device add %s --ip %s --may-send-to %s", d.Name, d.Networks[0].Addr(), deviceOf(d).MaySendTo)
	if !d.As.IsZero() {
		s.Command += " --as " + d.As.String()
	}
	s.Warnings = slices.Compact(s.Warnings)
	return s
}

// someDomain is the default domain or, without one, the first.
func (o *Service) someDomain() addr.Domain {
	domain := o.Dir.DefaultDomain()
	if all, err := o.Dir.Domains(); domain == "" && err == nil && len(all) > 0 {
		domain = all[0]
	}
	return domain
}

// deviceName makes a free name of what the machine calls itself.
func (o *Service) deviceName(tried []decisionlog.Attempt) (string, error) {
	last := tried[len(tried)-1].Facts
	host, _, _ := strings.Cut(last.Name, ".")
	if host == "" {
		host, _, _ = strings.Cut(last.Helo, ".")
	}
	name := "device"
	for _, text := range []string{devices.Name(host), devices.Name(last.From.Local)} {
		if strings.ContainsFunc(text, func(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }) { // not the pieces of an address
			name = text
			break
		}
	}
	all, err := o.Devices.List()
	if err != nil {
		return "", o.explainDevice(err)
	}
	taken := func(n string) bool {
		return slices.ContainsFunc(all, func(d policy.Device) bool { return strings.EqualFold(d.Name, n) })
	}
	free := name
	for i := 2; taken(free); i++ {
		free = fmt.Sprintf("%s-%d", name[:min(len(name), devices.MaxName-6)], i)
	}
	return free, nil
}
