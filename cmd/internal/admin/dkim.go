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
	// DKIMWait is the time after which a new key begins to sign. Until then, resolvers must have
	// learned of its DNS record. It is twice the longest usual TTL.
	DKIMWait = 48 * time.Hour
	// DKIMKeep is the time for which the record of the old key stays after that. Mail that waits in
	// a queue is verified late.
	DKIMKeep = 7 * 24 * time.Hour
)

// DKIMKey is a key that signs mail of a domain, with its DNS record.
type DKIMKey struct {
	Domain addr.Domain `json:"domain"`
	dkim.Key
	State   dkim.State `json:"state"`
	Record  DNSRecord  `json:"record,omitzero"`
	Problem string     `json:"problem,omitempty"` // the error if the key's file cannot be read
}

// DNSRecord is a TXT record to publish.
type DNSRecord struct {
	Name  string `json:"name"`  // without the final dot
	Value string `json:"value"` // not split into strings
	Zone  string `json:"zone"`  // in the form of a zone file
}

// ParseDKIMKind parses the name of a type of key; "" is RSA.
func ParseDKIMKind(name string) (dkim.Kind, error) {
	switch strings.ToLower(name) {
	case "", "rsa", string(dkim.RSA2048):
		return dkim.RSA2048, nil
	case string(dkim.Ed25519):
		return dkim.Ed25519, nil
	}
	return "", Hint(fmt.Errorf("%q is not a type of key", name), "the types are rsa, which every server can verify, and ed25519")
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
		o.note("no mail is signed while dkim_sign in [authenticity] of the configuration is false")
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
		if err := confirm(in.Sure, "Remove the key %s of %s, which is %s?", in.Selector, in.Domain, state); err != nil {
			return Change{}, err
		}
	}
	return o.RemoveDKIM(in.Domain, in.Selector, now)
}

// CreateDKIM makes the first key of a hosted domain. With an empty selector it chooses one.
func (o *Service) CreateDKIM(domain, selector string, kind dkim.Kind, now time.Time) (DKIMKey, error) {
	return o.addDKIM(domain, func(keys *dkim.Keys, d addr.Domain) (dkim.Key, error) {
		return keys.Create(d, selector, kind, now)
	}, now)
}

// RotateDKIM makes a new key for a hosted domain. It replaces the current key after the time wait.
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

// ShowDKIM lists the keys of a domain, or of all domains for "", in the order in which they sign.
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

// DKIMState returns the state of a key.
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
	warnings := []string{fmt.Sprintf("remove the DNS record %s._domainkey.%s too", selector, d)}
	if left, err := keys.Show(d, now); err == nil && len(left) == 0 {
		warnings = append(warnings, fmt.Sprintf("mail of %s is no longer signed", d))
	}
	return changed(nil, warnings, "DKIM key %s of %s removed", selector, d)
}

// dkimObject returns the name of a key in the audit log.
func dkimObject(d addr.Domain, selector string) string { return selector + "._domainkey." + string(d) }

// explainDKIM adds a hint to an error of package dkim.
func (o *Service) explainDKIM(err error, d addr.Domain) error {
	switch {
	case errors.Is(err, dkim.ErrExists):
		return Hint(err, "'pillarbox admin dkim show %s' shows the keys; 'pillarbox admin dkim rotate %s' replaces the signing key, unless a new one is already waiting", d, d)
	case errors.Is(err, dkim.ErrNotFound):
		return Hint(err, "'pillarbox admin dkim show %s' shows the keys; 'pillarbox admin dkim create %s' makes the first", d, d)
	case errors.Is(err, dkim.ErrActive):
		return Hint(err, "it can be removed when another key signs: 'pillarbox admin dkim show %s' shows from when", d)
	case errors.Is(err, dkim.ErrDamaged):
		return Hint(err, "repair the file (below %s), or restore it from a backup", o.Root.Name())
	case errors.Is(err, dkim.ErrName):
		return Hint(err, "write it like mail2026")
	case errors.Is(err, durable.ErrLocked):
		return Hint(err, "another command is running; try again")
	}
	return o.explain(err, d, "domain list")
}
