// Package devices stores the devices that may send without a login: scanners, UPSs, report servers.
//
// A Registry keeps them in devices.json in the data directory. The SMTP server looks up each
// client's address (Lookup); admin commands change the list. Every change replaces the file
// atomically. Every read checks with one stat whether the file changed, so a change takes effect at
// once, also if an editor made it. A damaged file admits no device and is never overwritten.
package devices

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pillarbox/mailstore/durable"
	"pillarbox/smtp/policy"
)

// Classes of errors. The texts name the object; the caller adds a hint.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrName     = errors.New("not a permitted name")
	ErrNetwork  = errors.New("not a permitted network")
	// ErrDamaged: devices.json does not parse, or has an entry that Add would refuse.
	ErrDamaged = errors.New("damaged file")
)

const (
	file     = "devices.json"
	lockFile = ".devices.lock"

	// Networks with a prefix this short are refused: no office has that many devices.
	widest4 = 8
	widest6 = 32

	// MaxName is the maximum length of a name in octets.
	MaxName = 64
)

// Registry reads and changes the devices. It is safe for concurrent use, also by several processes
// on one data directory.
type Registry struct{ file *durable.JSONFile[snapshot] }

// New returns a Registry for a data directory.
func New(fsys durable.FS) *Registry {
	return &Registry{durable.NewJSONFile(fsys, file, lockFile, parse)}
}

// Report makes the registry report to d when its file cannot be read, and returns r. It must be
// called before any other method.
func (r *Registry) Report(d *durable.DamageReporter) *Registry {
	r.file.Report(d)
	return r
}

// content is the JSON of devices.json.
type content struct {
	Devices []policy.Device `json:"devices"`
}

// snapshot is the parsed content of the file.
type snapshot struct {
	devices  []policy.Device
	networks []network // most specific first
}

type network struct {
	prefix netip.Prefix
	device int
}

// List returns the devices in alphabetical order. Errors: ErrDamaged.
func (r *Registry) List() ([]policy.Device, error) {
	s, err := r.file.Load()
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.devices), nil
}

// Get returns the device with this name, ignoring case. Errors: ErrNotFound, ErrDamaged.
func (r *Registry) Get(name string) (policy.Device, error) {
	s, err := r.file.Load()
	if err != nil {
		return policy.Device{}, err
	}
	i := find(s.devices, name)
	if i < 0 {
		return policy.Device{}, fmt.Errorf("device %s: %w", name, ErrNotFound)
	}
	return s.devices[i], nil
}

// Lookup returns the device that an address belongs to. If several match, the one with the smallest
// network counts. The caller owns the result, except for its Networks. While the file cannot be
// read, no device is found; List returns the error.
func (r *Registry) Lookup(ip netip.Addr) (*policy.Device, bool) {
	s, err := r.file.Load()
	if err != nil {
		return nil, false
	}
	ip = ip.Unmap().WithZone("")
	for _, n := range s.networks {
		if n.prefix.Contains(ip) {
			return new(s.devices[n.device]), true
		}
	}
	return nil, false
}

// Add adds a device. Errors: ErrName, ErrNetwork, ErrDamaged, and ErrExists if another device has
// the name or one of the networks.
func (r *Registry) Add(d policy.Device) error {
	d.Over = false
	if err := check(d); err != nil {
		return err
	}
	return r.change(func(all []policy.Device) ([]policy.Device, error) {
		all = append(all, d)
		return all, checkTogether(all)
	})
}

// Remove deletes a device. Errors: ErrNotFound, ErrDamaged.
func (r *Registry) Remove(name string) error {
	return r.change(func(all []policy.Device) ([]policy.Device, error) {
		i := find(all, name)
		if i < 0 {
			return nil, fmt.Errorf("device %s: %w", name, ErrNotFound)
		}
		return slices.Delete(all, i, i+1), nil
	})
}

func find(all []policy.Device, name string) int {
	return slices.IndexFunc(all, func(d policy.Device) bool {
		return strings.EqualFold(d.Name, name)
	})
}

// change replaces the file. edit gets a copy of the list.
func (r *Registry) change(edit func([]policy.Device) ([]policy.Device, error)) error {
	return r.file.Change(func(s snapshot) (any, error) {
		all, err := edit(slices.Clone(s.devices))
		slices.SortFunc(all, func(a, b policy.Device) int { return cmp.Compare(a.Name, b.Name) })
		return content{all}, err
	})
}

func parse(data []byte) (snapshot, error) {
	var c content
	err := durable.DecodeStrict(data, &c)
	for i := range c.Devices {
		c.Devices[i].Over = false
		err = cmp.Or(err, check(c.Devices[i]))
	}
	if err = cmp.Or(err, checkTogether(c.Devices)); err != nil {
		return snapshot{}, fmt.Errorf("%s: %w: %w", file, ErrDamaged, err)
	}
	s := snapshot{devices: c.Devices}
	for i, d := range c.Devices {
		for _, p := range d.Networks {
			s.networks = append(s.networks, network{p, i})
		}
	}
	slices.SortStableFunc(s.networks, func(a, b network) int {
		return cmp.Compare(b.prefix.Bits(), a.prefix.Bits())
	})
	return s, nil
}
