package policy

import (
	"net/netip"

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
		"give the device a sender of this server, or pillarbox admin device add "+device.Name+" … --as ADDRESS")
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
			"pillarbox admin device add "+device.Name+" … --may-send-to all")
	case device.Over:
		d.step("device", "devices.json", device.Name, "has used up its limit for this hour")
		return d.refuse(smtp.NewReply(450, [3]int{4, 7, 1}, "The device %s has sent too much, try again later", device.Name),
			"wait, or give the device a larger --per-hour")
	}
	d.step("device", "devices.json", device.Name, "may send there")
	return true
}
