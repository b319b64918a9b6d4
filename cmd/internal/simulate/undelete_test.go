package simulate

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"

	"pillarbox/cmd/internal/admin"
)

// addUndelete gives some histories steps that restore the deleted mail of a mailbox. Its choices are its own, so that all
// else is as without it.
func (h *History) addUndelete() {
	c := &chooser{Rand: rand.New(rand.NewPCG(h.Seed, 17))}
	if len(h.Steps) == 0 || c.IntN(3) > 0 {
		return
	}
	for range 1 + c.IntN(3) {
		at := c.IntN(1 + len(h.Steps))
		h.Steps = slices.Insert(h.Steps, at, Step{Do: "undelete", Box: one(c, boxNames)})
	}
}

// undelete restores all deleted mail of a mailbox. What the model promises: nothing comes back that was not deleted in
// this mailbox, nothing twice, and what the server says is back is there. That all comes back is not promised.
func (w *world) undelete(s *Step) {
	m := w.model
	m.mu.Lock()
	b := m.find(s.Box)
	if b == nil {
		m.mu.Unlock()
		return
	}
	for _, c := range b.copies {
		if c.imported { // it may have been imported anew, and would rightly be there twice
			m.mu.Unlock()
			return
		}
	}
	m.uncertain(s.Box) // it may be full now
	for _, r := range m.owed {
		if slices.Contains(b.had, r.sender) {
			r.spare++ // a report that comes back is one more
		}
	}
	gone := make(map[string]bool)
	for token, c := range b.copies {
		if c.state == deleted || c.state == leaving || c.state == refused && c.perhaps {
			gone[token] = true
			c.state, c.renewed = leaving, true
		}
	}
	m.mu.Unlock()
	done, err := admin.UndeleteRestore.Do(context.Background(), w.office, admin.DeletedToRestore{User: s.Box, All: true})
	w.log("undelete: %d messages, %v", len(done.Messages), err)
	m.mu.Lock()
	defer m.mu.Unlock()
	back := make(map[string]bool)
	for _, d := range done.Messages {
		token, known := m.uids[d.UID]
		switch {
		case !known: // it was deleted before any reader saw it
			continue
		case strings.HasPrefix(token, "report "):
			continue // it is one more report now
		case back[token]:
			m.violation("message %s was restored to %s twice", token, b.name)
		case b.copies[token] == nil:
			m.violation("message %s was restored to %s, and was never there", token, b.name)
			continue
		case !gone[token] && b.copies[token].state == promised && !b.copies[token].renewed:
			m.violation("message %s was restored to %s, and was not deleted", token, b.name)
		}
		back[token] = true
		if c := b.copies[token]; c.state == leaving && b.sweeps == 0 && err == nil {
			c.state, c.uid = promised, d.ID
		}
	}
}
