package policy

import (
	"net/netip"
	"strconv"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Device is a machine that may send without a login: a scanner, a UPS, a report server. It is
// known by its address.
type Device struct {
	Name     string         `json:"name"`
	Networks []netip.Prefix `json:"networks"`
	// Outside permits other servers as recipients, not only local mailboxes.
	Outside bool `json:"outside,omitempty"`
	// As replaces the sender that the device names. If As is zero, it may name any address of a
	// hosted domain.
	As addr.Address `json:"as,omitzero"`
	// PerHour is the limit of recipients per hour; 0 means no limit.
	PerHour int `json:"per_hour,omitempty"`
	// AllowPlaintext permits a login without TLS.
	AllowPlaintext bool `json:"allow_plaintext,omitempty"`

	// Over reports that the device has used up its hourly limit. It is a fact, not a setting.
	Over bool `json:"over,omitempty"`
}

// deviceSender checks the sender of a device. A device with a sender of its own may name any
// address: SenderOf replaces it.
func (r *Rules) deviceSender(d *Decision, f *Facts) bool {
	if !f.isDevice() {
		return true
	}
	device := f.Device
	switch {
	case !device.As.IsZero():
		d.step("device", "devices.json", device.Name, "sends as "+device.As.String())
		return true
	case f.From.IsZero() || f.FromHosted:
		d.step("device", "devices.json", device.Name, "sends as an address of this server")
		return true
	}
	d.step("device", "devices.json", f.From.String(), "is not in a domain of this server")
	return d.refuse(smtp.NewReply(553, [3]int{5, 7, 1}, "The device %s may not send as %s", device.Name, f.From),
		"set a sender of this server in the device, or give it one: "+device.replace()+" --as ADDRESS")
}

// deviceRecipient applies a device's right to send to other servers, and its hourly limit.
func (r *Rules) deviceRecipient(d *Decision, f *Facts) bool {
	if !f.isDevice() {
		return true
	}
	device := f.Device
	switch {
	case f.Kind == RecipientRemote && !device.Outside:
		d.step("device", "devices.json", device.Name, "may send to this server's own mailboxes only")
		return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "Unable to relay for %s", f.To),
			device.with(func(d *Device) { d.Outside = true }).replace())
	case device.Over:
		d.step("device", "devices.json", device.Name, "has used up its limit for this hour")
		return d.refuse(smtp.NewReply(450, [3]int{4, 7, 1}, "The device %s has sent too much, try again later", device.Name),
			"wait, or permit more: "+device.with(func(d *Device) { d.PerHour *= 2 }).replace())
	}
	d.step("device", "devices.json", device.Name, "may send there")
	return true
}

// with returns a changed copy of a device.
func (d Device) with(change func(*Device)) Device {
	change(&d)
	return d
}

// replace returns the commands that make a device anew with these settings. They can be typed as
// they are.
func (d Device) replace() string {
	to := "local"
	if d.Outside {
		to = "all"
	}
	words := []string{"pillarbox admin device remove", d.Name, "&& pillarbox admin device add", d.Name}
	for _, p := range d.Networks {
		text := p.String()
		if p.IsSingleIP() {
			text = p.Addr().String()
		}
		words = append(words, "--ip", text)
	}
	words = append(words, "--may-send-to", to)
	if !d.As.IsZero() {
		words = append(words, "--as", shellWord(d.As.String()))
	}
	if d.PerHour > 0 {
		words = append(words, "--per-hour", strconv.Itoa(d.PerHour))
	}
	if d.AllowPlaintext {
		words = append(words, "--allow-plaintext")
	}
	return strings.Join(words, " ")
}

// shellWord quotes a word that a shell would not take as it is.
func shellWord(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@.-_+:"
	if strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
