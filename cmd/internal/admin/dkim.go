package admin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp/dkim"
)

const (
	// DKIMWait is how long a new key waits to sign, so that its DNS record is known everywhere: twice the longest time
	// for which records are commonly kept.
	DKIMWait = 48 * time.Hour
	// DKIMKeep is how long the old key's record stays beyond that: mail that waits in queues is verified late.
	DKIMKeep = 7 * 24 * time.Hour
)

// DKIMKey is a key that signs mail of a domain, with the DNS record that goes with it.
type DKIMKey struct {
	Domain addr.Domain `json:"domain"`
	dkim.Key
	State   dkim.State `json:"state"`
	Record  DNSRecord  `json:"record,omitzero"`
	Problem string     `json:"problem,omitempty"` // why there is no record: the key's file cannot be read
}

// DNSRecord is a TXT record to be published.
type DNSRecord struct {
	Name  string `json:"name"`  // without the final dot
	Value string `json:"value"` // in one piece
	Zone  string `json:"zone"`  // as a line of a zone file
}

// ParseDKIMKind reads the name of an algorithm; "" is the common one.
func ParseDKIMKind(name string) (dkim.Kind, error) {
	switch strings.ToLower(name) {
	case "", "rsa", string(dkim.RSA2048):
		return dkim.RSA2048, nil
	case string(dkim.Ed25519):
		return dkim.Ed25519, nil
	}
	return "", Hint(fmt.Errorf("%q is no type of key", name), "there are rsa, which everybody verifies, and ed25519")
}

// DKIMOrder is a key that is to be made. The zero values of its members are the usual ones.
type DKIMOrder struct {
	Domain   string
	Selector string // "": one with the month in it
	Type     string // rsa or ed25519
	Now      bool   // of a rotation: the new key signs at once
}

// createDKIM makes the first key of a domain.
func (o *Service) createDKIM(in DKIMOrder) (DKIMKey, error) {
	kind, err := ParseDKIMKind(in.Type)
	if err != nil {
		return DKIMKey{}, usage(err)
	}
	o.noteUnsigned()
	return o.CreateDKIM(in.Domain, in.Selector, kind, time.Now())
}

// noteUnsigned tells that keys are of no use.
func (o *Service) noteUnsigned() {
	if !o.Config().Authenticity.Sign {
		o.note("nothing is signed as long as dkim_sign in [authenticity] of the configuration is false")
	}
}

// rotateDKIM makes another key, and returns all keys of the domain.
func (o *Service) rotateDKIM(in DKIMOrder) ([]DKIMKey, error) {
	kind, err := ParseDKIMKind(in.Type)
	if err != nil {
		return nil, usage(err)
	}
	wait := DKIMWait
	if in.Now {
		wait = 0
	}
	o.noteUnsigned()
	fresh, err := o.RotateDKIM(in.Domain, in.Selector, kind, time.Now(), wait)
	if err != nil {
		return nil, err
	}
	return o.ShowDKIM(string(fresh.Domain), time.Now())
}

func (o *Service) showDKIM(domain string) ([]DKIMKey, error) {
	o.noteUnsigned()
	return o.ShowDKIM(domain, time.Now())
}

// DKIMToRemove is a key that is to be deleted.
type DKIMToRemove struct {
	Domain, Selector string
	Sure             bool
}

// removeDKIM deletes a key. It asks first, unless the key's time is over.
func (o *Service) removeDKIM(in DKIMToRemove) (Change, error) {
	d, err := o.parseDomain(in.Domain)
	if err == nil {
		err = o.Require(d, true)
	}
	if err != nil {
		return Change{}, err
	}
	now := time.Now()
	state, err := o.DKIMState(in.Domain, in.Selector, now)
	if err != nil {
		return Change{}, err
	}
	if state != dkim.Over {
		if err := confirm(in.Sure, "Delete the key %s of %s, which is %s?", in.Selector, in.Domain, state); err != nil {
			return Change{}, err
		}
	}
	return o.RemoveDKIM(in.Domain, in.Selector, now)
}

// CreateDKIM makes the first key of a hosted domain. An empty selector is chosen.
func (o *Service) CreateDKIM(domain, selector string, kind dkim.Kind, now time.Time) (DKIMKey, error) {
	return o.addDKIM(domain, func(keys *dkim.Keys, d addr.Domain) (dkim.Key, error) {
		return keys.Create(d, selector, kind, now)
	}, now)
}

// RotateDKIM makes a key that replaces the one of a hosted domain after the time wait.
func (o *Service) RotateDKIM(domain, selector string, kind dkim.Kind, now time.Time, wait time.Duration) (DKIMKey, error) {
	return o.addDKIM(domain, func(keys *dkim.Keys, d addr.Domain) (dkim.Key, error) {
		return keys.Rotate(d, selector, kind, now, wait, DKIMKeep)
	}, now)
}

func (o *Service) addDKIM(domain string, add func(*dkim.Keys, addr.Domain) (dkim.Key, error), now time.Time) (DKIMKey, error) {
	d, err := o.parseDomain(domain)
	if err != nil {
		return DKIMKey{}, err
	}
	if hosted, err := o.Dir.Hosts(d); err != nil || !hosted {
		return DKIMKey{}, o.explain(cmp.Or(err, fmt.Errorf("domain %s: %w", d, directory.ErrNotFound)), d, "domain list")
	}
	if err := o.Require(d, true); err != nil {
		return DKIMKey{}, err
	}
	keys := dkim.Open(o.Root)
	key, err := add(keys, d)
	if err != nil {
		return DKIMKey{}, o.explainDKIM(err, d)
	}
	o.Record(dkimObject(d, key.Selector), nil, key)
	return withRecord(keys, d, key, now), nil
}

func withRecord(keys *dkim.Keys, d addr.Domain, key dkim.Key, now time.Time) DKIMKey {
	k := DKIMKey{Domain: d, Key: key, State: key.State}
	record, err := keys.Record(d, key.Selector, now)
	if err != nil {
		k.Problem = err.Error()
		return k
	}
	k.Record = DNSRecord{Name: record.Name, Value: record.Value, Zone: record.Zone()}
	return k
}

// ShowDKIM lists the keys of a domain, or of all for "", in the order in which they sign.
func (o *Service) ShowDKIM(domain string, now time.Time) ([]DKIMKey, error) {
	keys := dkim.Open(o.Root)
	domains, err := keys.Domains()
	if err != nil {
		return nil, err
	}
	if domain != "" {
		d, err := o.parseDomain(domain)
		if err != nil {
			return nil, err
		}
		if hosted, err := o.Dir.Hosts(d); err != nil || !hosted && !slices.Contains(domains, d) {
			return nil, o.explain(cmp.Or(err, fmt.Errorf("domain %s: %w", d, directory.ErrNotFound)), d, "domain list")
		}
		if err := o.Require(d, false); err != nil {
			return nil, err
		}
		domains = []addr.Domain{d}
	}
	all := []DKIMKey{}
	for _, d := range domains {
		if !o.mayRead(d) {
			continue
		}
		listed, err := keys.Show(d, now)
		if err != nil {
			return nil, o.explainDKIM(err, d)
		}
		for _, key := range listed {
			all = append(all, withRecord(keys, d, key, now))
		}
	}
	return all, nil
}

// DKIMState is where in its life a key is.
func (o *Service) DKIMState(domain, selector string, now time.Time) (dkim.State, error) {
	d, err := o.parseDomain(domain)
	if err != nil {
		return "", err
	}
	if err := o.Require(d, false); err != nil {
		return "", err
	}
	listed, err := dkim.Open(o.Root).Show(d, now)
	if err != nil {
		return "", o.explainDKIM(err, d)
	}
	for _, key := range listed {
		if key.Selector == selector {
			return key.State, nil
		}
	}
	return "", o.explainDKIM(fmt.Errorf("DKIM key %s of %s: %w", selector, d, dkim.ErrNotFound), d)
}

// RemoveDKIM deletes a key.
func (o *Service) RemoveDKIM(domain, selector string, now time.Time) (Change, error) {
	d, err := o.parseDomain(domain)
	if err != nil {
		return Change{}, err
	}
	keys := dkim.Open(o.Root)
	if err := o.Require(d, true); err != nil {
		return Change{}, err
	}
	if err := keys.Remove(d, selector, now); err != nil {
		return Change{}, o.explainDKIM(err, d)
	}
	o.Record(dkimObject(d, selector), map[string]any{"selector": selector}, nil)
	warnings := []string{fmt.Sprintf("the DNS record %s._domainkey.%s can go too", selector, d)}
	if left, err := keys.Show(d, now); err == nil && len(left) == 0 {
		warnings = append(warnings, fmt.Sprintf("mail of %s is no longer signed", d))
	}
	return changed(nil, warnings, "DKIM key %s of %s removed", selector, d)
}

// dkimObject is what the audit log calls a key.
func dkimObject(d addr.Domain, selector string) string { return selector + "._domainkey." + string(d) }

// explainDKIM gives an error the hint that a person needs.
func (o *Service) explainDKIM(err error, d addr.Domain) error {
	switch {
	case errors.Is(err, dkim.ErrExists):
		return Hint(err, "'pillarbox admin dkim show %s' shows the keys; 'pillarbox admin dkim rotate %s' replaces the one that signs, once no other waits to", d, d)
	case errors.Is(err, dkim.ErrNotFound):
		return Hint(err, "'pillarbox admin dkim show %s' shows the keys; 'pillarbox admin dkim create %s' makes the first", d, d)
	case errors.Is(err, dkim.ErrActive):
		return Hint(err, "it can go when another signs: 'pillarbox admin dkim show %s' says from when on", d)
	case errors.Is(err, dkim.ErrDamaged):
		return Hint(err, "mend the file (below %s) or take it from a backup", o.Root.Name())
	case errors.Is(err, dkim.ErrName):
		return Hint(err, "write it like mail2026")
	case errors.Is(err, durable.ErrLocked):
		return Hint(err, "another command is at work; try again")
	}
	return o.explain(err, d, "domain list")
}
