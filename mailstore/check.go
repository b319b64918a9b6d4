package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Check reads every message of a mailbox and returns all that is wrong with it: a message that cannot be read,
// whose size or dots are not those that its name tells, or whose unique-id another one has too. Nothing is repaired.
// A message deleted meanwhile is no error. It is as slow as it sounds.
func (s *Store) Check(dir string) error {
	entries, err := s.list(dir)
	if err != nil {
		return err
	}
	var errs []error
	names := make(map[string]string, len(entries)) // by UID
	for i, e := range entries {
		if other, twice := names[e.UID]; twice {
			errs = append(errs, fmt.Errorf("%s: %s and %s have one unique-id", dir, other, e.name))
		}
		names[e.UID] = e.name
		m := Maildrop{store: s, dir: dir, entries: entries}
		if err := m.check(i); err != nil && !errors.Is(err, ErrGone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// check reads message i.
func (m *Maildrop) check(i int) error {
	r, err := m.Open(i)
	if err != nil {
		return err
	}
	defer r.Close()
	var dots dotScanner
	if _, err := io.Copy(&dots, r); err != nil {
		return fmt.Errorf("%s/%s: %w", m.dir, m.entries[i].name, err)
	}
	if dots.found && !m.entries[i].Dotted {
		return fmt.Errorf("%s/%s: %w: a line begins with a dot and the name does not tell", m.dir, m.entries[i].name, ErrDamaged)
	}
	return nil
}

// dotScanner is an io.Writer that looks for lines that begin with a dot. The zero value is ready.
type dotScanner struct {
	found  bool
	inLine bool // the last byte was not the end of a line
}

// Write implements io.Writer and never fails.
func (d *dotScanner) Write(p []byte) (int, error) {
	if len(p) > 0 {
		d.found = d.found || !d.inLine && p[0] == '.' || bytes.Contains(p, []byte("\n."))
		d.inLine = p[len(p)-1] != '\n'
	}
	return len(p), nil
}
