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
	journalLook    = 20000 // records to read; usually more than the decision log holds
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

// RefusedStrangers returns the last 20 refused attempts to send by machines that are not devices,
// the newest last.
func (o *Service) RefusedStrangers() ([]decisionlog.Attempt, error) {
	attempts, err := o.refused(suggestAttempt)
	return append([]decisionlog.Attempt{}, attempts...), err
}

func (o *Service) refused(limit int) ([]decisionlog.Attempt, error) {
	if _, err := o.Devices.List(); err != nil {
		return nil, o.explainDevice(err)
	}
	records, err := decisionlog.Refusals(o.Root, journalLook)
	if err != nil {
		return nil, o.explainDevice(err)
	}
	return decisionlog.RefusedUnknown(records, func(ip netip.Addr) bool {
		_, known := o.Devices.Lookup(ip)
		return known
	}, limit), nil
}

// Suggestion is a device with the rights that a machine's refused attempts needed.
type Suggestion struct {
	Command  string   `json:"command"` // adds the device
	Name     string   `json:"name"`
	Warnings []string `json:"warnings"` // consequences to consider first
}

// SuggestDevice suggests a device for a machine that was refused.
func (o *Service) SuggestDevice(ip string) (Suggestion, error) {
	remote, err := ParseClient(ip)
	if err != nil {
		return Suggestion{}, err
	}
	remote = remote.Unmap().WithZone("")
	if d, ok := o.Devices.Lookup(remote); ok {
		return Suggestion{}, Hint(fmt.Errorf("%s is already the device %s", remote, d.Name), "'pillarbox admin device show %s' shows its rights", d.Name)
	}
	all, err := o.refused(journalLook)
	if err != nil {
		return Suggestion{}, err
	}
	tried := slices.DeleteFunc(all, func(a decisionlog.Attempt) bool { return a.Facts.Remote.Unmap().WithZone("") != remote })
	if len(tried) == 0 {
		return Suggestion{}, Hint(fmt.Errorf("the server has refused no recent attempt of %s to send", remote),
			"send a message from it, then repeat the command; 'pillarbox admin device suggest' without an address lists refused machines")
	}
	name, err := o.deviceName(tried)
	if err != nil {
		return Suggestion{}, err
	}
	d := policy.Device{Name: name, Networks: []netip.Prefix{netip.PrefixFrom(remote, remote.BitLen())}}
	return o.suggest(d, tried), nil
}

// suggest fills in the smallest rights for the attempts. The device may send to other servers only
// if the machine tried to. It gets a sender address of its own only if the machine's is not hosted
// here.
func (o *Service) suggest(d policy.Device, tried []decisionlog.Attempt) Suggestion {
	s := Suggestion{Name: d.Name, Warnings: []string{}}
	warn := func(text string, args ...any) { s.Warnings = append(s.Warnings, fmt.Sprintf(text, args...)) }
	named, outside := false, addr.Address{}
	own := ownSender(tried)
	for _, a := range tried {
		f := &a.Facts
		named = named || !f.To.IsZero()
		if f.Kind == policy.RecipientRemote {
			d.Outside, outside = true, f.To
		}
		if d.As.IsZero() && !f.From.IsZero() && !f.FromHosted {
			if d.As = own; own.IsZero() {
				d.As = addr.Address{Local: strings.ToLower(d.Name), Domain: o.someDomain()}
			}
			warn("it sends as %s, which is not an address of this server; its mail will come from %s instead", f.From, d.As)
		}
	}
	if !named {
		warn("it was refused before it named a recipient; for recipients on other servers, use --may-send-to all")
	}
	if d.Outside {
		warn("it tried to send to other servers, such as to %s; if it need not, use --may-send-to local", outside)
	}
	for _, a := range tried {
		// Some rules apply to devices too.
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

// ownSender returns the last address of a domain here that a machine sent as; zero if there is none.
func ownSender(tried []decisionlog.Attempt) (from addr.Address) {
	for _, a := range tried {
		if f := &a.Facts; f.FromHosted && !f.From.IsZero() {
			from = f.From
		}
	}
	return from
}

// commonName reports whether many machines call themselves so.
func commonName(host string) bool {
	return slices.Contains([]string{"localhost", "localhost4", "localhost6", "unknown"}, strings.ToLower(host))
}

// someDomain returns the default domain or, without one, the first domain.
func (o *Service) someDomain() addr.Domain {
	domain := o.Dir.DefaultDomain()
	if all, err := o.Dir.Domains(); domain == "" && err == nil && len(all) > 0 {
		domain = all[0]
	}
	return domain
}

// deviceName makes an unused device name from the machine's DNS name, EHLO or sender address.
func (o *Service) deviceName(tried []decisionlog.Attempt) (string, error) {
	last := tried[len(tried)-1].Facts
	host, _, _ := strings.Cut(last.Name, ".")
	if host == "" || commonName(host) {
		host, _, _ = strings.Cut(last.Helo, ".")
	}
	if commonName(host) {
		host = ""
	}
	name := "device"
	for _, text := range []string{
		devices.Name(host), devices.Name(ownSender(tried).Local), devices.Name(last.From.Local),
	} {
		if strings.ContainsFunc(text, func(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }) { // not the numbers of an IP address
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
