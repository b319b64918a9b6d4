package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/devices"
	"pillarbox/smtp/policy"
)

// NewDevice is a machine that may send without a login, in the form of the command line.
type NewDevice struct {
	Name           string
	IPs            []string // addresses and networks
	MaySendTo      string   // local or all
	As             string   // replaces its sender address; "": it may use any local address
	PerHour        int      // recipients in an hour; 0: no limit
	AllowPlaintext bool     // it may log in without TLS
}

// Device describes one device.
type Device struct {
	Name           string         `json:"name"`
	Networks       []netip.Prefix `json:"networks"`
	MaySendTo      string         `json:"may_send_to"` // local or all
	As             addr.Address   `json:"as"`          // replaces its sender address; "" for none
	PerHour        int            `json:"per_hour"`    // recipients in an hour; 0: no limit
	AllowPlaintext bool           `json:"allow_plaintext"`
}

const (
	toLocal = "local"
	toAll   = "all"
)

// AddDevice permits a machine to send without a login.
func (o *Service) AddDevice(n NewDevice) (Change, error) {
	d, err := o.parseDevice(n)
	if err != nil {
		return Change{}, err
	}
	notes, err := machine().notes(d)
	if err != nil {
		return Change{}, err
	}
	if hosted, err := o.Dir.Hosts(d.As.Domain); err == nil && !hosted && !d.As.IsZero() {
		notes = append(notes, fmt.Sprintf("%s is not hosted here; recipients may treat mail from it as forged", d.As))
	}
	err = o.Devices.Add(d)
	if err == nil {
		o.Record("device "+d.Name, nil, deviceOf(d))
	}
	return changed(o.explainDevice(err), notes, "device %s added, at %s", d.Name, networkTexts(d.Networks))
}

func (o *Service) parseDevice(n NewDevice) (policy.Device, error) {
	d := policy.Device{Name: n.Name, PerHour: n.PerHour, AllowPlaintext: n.AllowPlaintext}
	switch strings.ToLower(n.MaySendTo) {
	case toLocal:
	case toAll:
		d.Outside = true
	default:
		return d, Hint(fmt.Errorf("%q is not a target that a device may send to", n.MaySendTo), "write local (the mailboxes of this server) or all")
	}
	for _, text := range n.IPs {
		p, err := devices.ParseNetwork(text)
		if err != nil {
			return d, o.explainDevice(err)
		}
		d.Networks = append(d.Networks, p)
	}
	if n.As == "" {
		return d, nil
	}
	as, err := o.ParseUser(n.As)
	d.As = as
	return d, err
}

// explainDevice adds a hint to an error of package devices.
func (o *Service) explainDevice(err error) error {
	switch {
	case errors.Is(err, devices.ErrDamaged):
		return Hint(err, "repair the file (below %s) with an editor, or restore it from a backup", o.Root.Name())
	case errors.Is(err, devices.ErrName):
		return Hint(err, "a name is 1 to %d letters, digits and . _ -", devices.MaxName)
	case errors.Is(err, devices.ErrNetwork):
		return Hint(err, "give the device's own address, such as 192.168.1.50, or a small network that contains only such devices")
	case errors.Is(err, devices.ErrNotFound):
		return Hint(err, "'pillarbox admin device list' shows all devices")
	case errors.Is(err, devices.ErrExists):
		return Hint(err, "'pillarbox admin device list' shows all devices; "+
			"to change one, remove it first with 'pillarbox admin device remove'")
	}
	return o.explain(err, "", "")
}

// RemoveDevice ends the right of a machine to send without a login.
func (o *Service) RemoveDevice(name string) (Change, error) {
	old, _ := o.Devices.Get(name)
	err := o.Devices.Remove(name)
	if err == nil {
		o.Record("device "+old.Name, deviceOf(old), nil)
	}
	return changed(o.explainDevice(err), nil, "device %s removed", name)
}

// ListDevices lists the devices in alphabetical order.
func (o *Service) ListDevices() ([]Device, error) {
	all, err := o.Devices.List()
	list := []Device{}
	for _, d := range all {
		list = append(list, deviceOf(d))
	}
	return list, o.explainDevice(err)
}

// ShowDevice returns one device.
func (o *Service) ShowDevice(name string) (Device, error) {
	d, err := o.Devices.Get(name)
	return deviceOf(d), o.explainDevice(err)
}

func deviceOf(d policy.Device) Device {
	to := toLocal
	if d.Outside {
		to = toAll
	}
	return Device{d.Name, d.Networks, to, d.As, d.PerHour, d.AllowPlaintext}
}

// DeviceQuestion asks what the server would answer to a device.
type DeviceQuestion struct{ Name, To string }

func (o *Service) testDevice(ctx context.Context, q DeviceQuestion) (Explanation, error) {
	return o.TestDevice(ctx, q.Name, q.To)
}

// TestDevice explains the server's replies to a device that sends to an address; "" means the
// postmaster. It takes the first IP address that belongs to the device, and the device's sender
// address or, without one, the local postmaster's.
func (o *Service) TestDevice(ctx context.Context, name, to string) (Explanation, error) {
	d, err := o.Devices.Get(name)
	if err != nil {
		return Explanation{}, o.explainDevice(err)
	}
	ip, ok := o.addressOf(d)
	if !ok {
		return Explanation{}, Hint(fmt.Errorf("every address of the device %s belongs to other devices", d.Name),
			"'pillarbox admin device list' shows their networks; the smallest one counts")
	}
	if to == "" {
		to = addr.Address{Local: "postmaster", Domain: o.someDomain()}.String()
	}
	return o.Explain(ctx, Question{IP: ip, Service: smtp.MTA, From: o.deviceSender(d).String(), To: to})
}

// deviceSender returns the sender that a device is assumed to use: its own or the postmaster.
func (o *Service) deviceSender(d policy.Device) addr.Address {
	if !d.As.IsZero() {
		return d.As
	}
	return addr.Address{Local: "postmaster", Domain: o.someDomain()}
}

// addressOf returns the first IP address that Lookup assigns to the device. Other addresses of its
// network may belong to devices with a smaller network.
func (o *Service) addressOf(d policy.Device) (netip.Addr, bool) {
	const enough = 1 << 12
	for _, p := range d.Networks {
		ip := p.Addr()
		for n := 0; n < enough && p.Contains(ip); n++ {
			if found, ok := o.Devices.Lookup(ip); ok && found.Name == d.Name {
				return ip, true
			}
			ip = ip.Next()
		}
	}
	return netip.Addr{}, false
}

// NetworkText formats a network; a single address has no prefix length.
func NetworkText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func networkTexts(all []netip.Prefix) string {
	var texts []string
	for _, p := range all {
		texts = append(texts, NetworkText(p))
	}
	return strings.Join(texts, ", ")
}

// surroundings are the addresses that connections of other hosts may appear to come from, because
// of address translation.
type surroundings struct {
	gateways []netip.Addr   // of the default routes
	bridges  []netip.Prefix // of containers and virtual machines
}

func machine() surroundings {
	s := surroundings{gateways: netinfo.Gateways()}
	if interfaces, err := netinfo.Interfaces(); err == nil {
		s.bridges = netinfo.Bridges(interfaces, s.gateways, netinfo.InContainer())
	}
	return s
}

// notes refuses a device whose address is the gateway's: any host may connect through it. It
// returns warnings about other addresses that are risky to trust.
func (s surroundings) notes(d policy.Device) (notes []string, err error) {
	note := func(text string, args ...any) { notes = append(notes, fmt.Sprintf(text, args...)) }
	for _, p := range d.Networks {
		for _, gateway := range s.gateways {
			switch {
			case !p.Contains(gateway):
			case p.IsSingleIP():
				return nil, Hint(fmt.Errorf("%s is the gateway: every host that connects through it would count as the device %s", gateway, d.Name),
					"let the device reach this server without address translation, and give its own address")
			default:
				note("the gateway %s is in %s: if it forwards connections under its own address, strangers count as the device", gateway, p)
			}
		}
		for _, bridge := range s.bridges {
			if p.Overlaps(bridge) {
				note("%s lies on the bridge %s of containers or virtual machines: every host that connects through it under the same address counts as the device",
					NetworkText(p), bridge)
			}
		}
		if p.Addr().IsLoopback() {
			note("%s is this machine: every program on it counts as the device, and so does every client of a proxy or tunnel on it", NetworkText(p))
		}
	}
	return notes, nil
}
