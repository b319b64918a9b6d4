package dkim

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
)

// Record is the DNS record that publishes a public key (RFC 6376 §3.6).
type Record struct {
	Name  string // without the final dot
	Value string // of the TXT record, in one piece
}

// Record returns the DNS record of a key. An empty selector means the newest key of the domain.
// Errors: ErrNotFound, ErrDamaged.
func (k *Keys) Record(domain addr.Domain, selector string, now time.Time) (Record, error) {
	keys, err := k.Show(domain, now)
	if err != nil {
		return Record{}, err
	}
	if selector == "" && len(keys) > 0 {
		selector = keys[len(keys)-1].Selector
	}
	if find(keys, selector) < 0 {
		return Record{}, fmt.Errorf("DKIM key %s of %s: %w", selector, domain, ErrNotFound)
	}
	key, err := k.load(domain, selector)
	if err != nil {
		return Record{}, err
	}
	kind, public := "rsa", []byte(nil)
	if raw, ok := key.Public().(ed25519.PublicKey); ok {
		kind, public = "ed25519", raw // RFC 8463 §4: only the 32 octets of the key
	} else if public, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return Record{}, err
	}
	return Record{
		Name:  selector + "._domainkey." + string(domain),
		Value: "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public),
	}, nil
}

// Strings returns the value as strings of at most 255 octets, as a TXT record requires (RFC 1035
// §3.3.14). Readers join them without a separator.
func (r Record) Strings() []string {
	var pieces []string
	rest := r.Value
	for len(rest) > 255 {
		pieces, rest = append(pieces, rest[:255]), rest[255:]
	}
	return append(pieces, rest)
}

// Zone returns the zone file line (RFC 1035 §5.1), without a line end.
func (r Record) Zone() string {
	return fmt.Sprintf(`%s. IN TXT "%s"`, r.Name, strings.Join(r.Strings(), `" "`))
}

// String returns the name and the value on one line, for the web forms of DNS providers.
func (r Record) String() string { return r.Name + " TXT " + r.Value }
