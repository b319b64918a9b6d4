package dkim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// At whatever step of a rotation or a removal the disk fails, mail is signed afterwards, with a key
// whose record can be shown.
func TestDiskDies(t *testing.T) {
	broken := errors.New("broken disk")
	for name, change := range map[string]func(k *Keys, now time.Time) error{
		"rotate": func(k *Keys, now time.Time) error {
			_, err := k.Rotate(domain, "c", Ed25519, now, 0, time.Hour)
			return err
		},
		"remove": func(k *Keys, now time.Time) error { return k.Remove(domain, "a", now) },
	} {
		for n, done := 1, false; !done; n++ {
			root, err := durable.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			failing, now := mailtest.NewFailFS(root), time.Now().Add(-time.Hour)
			k := Open(failing)
			if _, err := k.Create(domain, "a", Ed25519, now); err != nil {
				t.Fatal(err)
			}
			if _, err := k.Rotate(domain, "b", Ed25519, now, 0, time.Minute); err != nil {
				t.Fatal(err)
			}
			failing.Start(mailtest.From(n, broken))
			err = change(k, now)
			done = len(failing.Ops()) < n
			if done && err != nil {
				t.Errorf("%s, step %d: %v", name, n, err)
			}
			failing.Start(nil)
			for _, k := range []*Keys{k, Open(root)} {
				signed := sign(t, k, message)
				_, selector, _ := strings.Cut(signed, " s=")
				selector, _, _ = strings.Cut(selector, ";")
				if err := verify(t, signed, record(t, k, selector)); err != nil {
					t.Errorf("%s, step %d: %v", name, n, err)
				}
			}
			root.Close()
		}
	}
}
