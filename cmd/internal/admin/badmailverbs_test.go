package admin

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Messages are deleted without a question only if one was named.
func TestRemoveAsks(t *testing.T) {
	o := office(t)
	put := func(dir string, ids ...string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(o.Root.Name(), dir), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if err := os.WriteFile(filepath.Join(o.Root.Name(), dir, id+".eml"), []byte("Subject: x\r\n\r\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	badmail := func(words []string, sure bool) (Removed, error) {
		return BadmailRemove.Do(t.Context(), o, BadmailToRemove{Words: words, All: len(words) == 0, Sure: sure})
	}
	quarantine := func(words []string, sure bool) (Removed, error) {
		return QuarantineRemove.Do(t.Context(), o, QuarantineToRemove{Words: words, All: len(words) == 0, Sure: sure})
	}
	for where, c := range map[string]struct {
		dir    string
		remove func(words []string, sure bool) (Removed, error)
	}{"badmail": {"badmail", badmail}, "quarantine": {quarantineDir, quarantine}} {
		put(c.dir, "P3_1", "P3_2", "P3_3")
		if _, err := c.remove(nil, false); !errors.Is(err, ErrConfirm) || err.Error() != "Delete 3 messages in "+where+"?" {
			t.Errorf("%s, all: %v", where, err)
		}
		if done, err := c.remove([]string{"P3_1"}, false); err != nil || !slices.Equal(done.Removed, []string{"P3_1"}) {
			t.Errorf("%s, one: %v, %v", where, done, err)
		}
		if done, err := c.remove(nil, true); err != nil || !slices.Equal(done.Removed, []string{"P3_2", "P3_3"}) {
			t.Errorf("%s, sure: %v, %v", where, done, err)
		}
		if done, err := c.remove(nil, false); err != nil || done.Removed == nil || len(done.Removed) > 0 {
			t.Errorf("%s, none left: %v, %v", where, done, err)
		}
	}
}
