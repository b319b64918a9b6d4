// Package devices knows the machines that may send without a log-in: scanners,
// UPSs, report servers. They stand in devices.json in the data directory;
// whoever changes it (an admin command, an editor) replaces it atomically, and a
// reader checks freshness with one stat, so that a change counts at once.
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

// Classes of errors. Texts name the thing; hints are the caller's.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrName     = errors.New("not a permitted name")
	ErrNetwork  = errors.New("not a permitted network")
	ErrDamaged  = errors.New("damaged file") // devices.json does not parse, or holds what Add would refuse
)

const (
	file     = "devices.json"
	lockFile = ".devices.lock"

	// Networks this short or shorter are refused: nobody has so many scanners.
	widest4 = 8
	widest6 = 32

	// MaxName is the length of a name in octets.
	MaxName = 64
)

// Registry reads and changes the devices. Safe for concurrent use, also by
// several processes on one data directory.
type Registry struct{ file *durable.JSONFile[snapshot] }

// New returns a Registry over a data directory.
func New(fsys durable.FS) *Registry {
	return &Registry{durable.NewJSONFile(fsys, file, lockFile, parse)}
}

// Report makes the registry report to d when its file cannot be read, and returns r. It is called before all else.
func (r *Registry) Report(d *durable.DamageReporter) *Registry {
	r.file.Report(d)
	return r
}

// content is what devices.json holds.
type content struct {
	Devices []policy.Device `json:"devices"`
}

// snapshot is what the file says.
type snapshot struct {
	devices  []policy.Device
	networks []network // the most specific first
}

type network struct {
	prefix netip.Prefix
	device int
}

// List returns the devices in alphabetical order. ErrDamaged.
func (r *Registry) List() ([]policy.Device, error) {
	s, err := r.file.Load()
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.devices), nil
}

// Get finds a device by its name. ErrNotFound.
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

// Lookup finds the device that an address belongs to; of several, the one with
// the smallest network. The device is the caller's own, but for its Networks.
// While the file cannot be read there are no devices; List says why.
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

// Add makes a device. ErrName, ErrNetwork, ErrExists for the name and for a
// network that another device has.
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

// Remove deletes a device. ErrNotFound.
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
	return slices.IndexFunc(all, func(d policy.Device) bool { return strings.EqualFold(d.Name, name) })
}

// change replaces the file. edit gets a copy.
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
	slices.SortStableFunc(s.networks, func(a, b network) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) })
	return s, nil
}
