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

// After a question, those messages are deleted or sent that the question was about, and none that
// came meanwhile.
func TestConfirmedMessagesOnly(t *testing.T) {
	o := office(t)
	put := func(dir, id string) {
		t.Helper()
		path := filepath.Join(o.Root.Name(), dir, id+".eml")
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, []byte("Subject: x\r\n\r\n"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	for dir, remove := range map[string]func(sure bool, confirmed []string) (Removed, error){
		"badmail": func(sure bool, confirmed []string) (Removed, error) {
			in := BadmailToRemove{All: true, Sure: sure, Confirmed: confirmed}
			return BadmailRemove.Do(t.Context(), o, in)
		},
		quarantineDir: func(sure bool, confirmed []string) (Removed, error) {
			in := QuarantineToRemove{All: true, Sure: sure, Confirmed: confirmed}
			return QuarantineRemove.Do(t.Context(), o, in)
		},
	} {
		put(dir, "P3_1")
		put(dir, "P3_2")
		asked, err := remove(false, nil)
		if !errors.Is(err, ErrConfirm) || !slices.Equal(asked.Removed, []string{"P3_1", "P3_2"}) {
			t.Errorf("%s, asked: %v, %v", dir, asked, err)
		}
		put(dir, "P3_3")
		done, err := remove(true, asked.Removed)
		if err != nil || !slices.Equal(done.Removed, []string{"P3_1", "P3_2"}) {
			t.Errorf("%s: %v, %v", dir, done, err)
		}
		if _, err := os.Stat(filepath.Join(o.Root.Name(), dir, "P3_3.eml")); err != nil {
			t.Error(err)
		}
	}
	put("badmail", "P3_4")
	asked, err := BadmailSend.Do(t.Context(), o, BadmailToSend{All: true})
	want := []BadmailSent{{ID: "P3_3"}, {ID: "P3_4"}}
	if !errors.Is(err, ErrConfirm) || !slices.Equal(asked, want) {
		t.Errorf("badmail send, asked: %v, %v", asked, err)
	}
}
