package delivery

import (
	"errors"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
)

// archivesOf returns the mailboxes that get a copy of the message, each once: those of its recipients,
// and of its sender if that is a user or device here. An archive's own settings do not count, so that
// no copy goes on from there. A copy is stored even if the archive is over its quota.
func (d *Dispatcher) archivesOf(m *Message) ([]directory.Mailbox, error) {
	var all []addr.Address
	for i := range m.Targets {
		all = append(all, m.Targets[i].Archives...)
	}
	if m.Source.Local {
		for _, sender := range []addr.Address{m.Source.User, m.Envelope.From} {
			own, err := d.archivesOfSender(sender)
			if err != nil {
				return nil, err
			}
			all = append(all, own...)
		}
	}
	return d.addArchives(nil, all)
}

// addArchives adds the archives of some addresses to those that are known, each once.
func (d *Dispatcher) addArchives(boxes []directory.Mailbox, all []addr.Address) ([]directory.Mailbox, error) {
	for i, a := range all {
		known := func(box directory.Mailbox) bool { return box.Address == a }
		if slices.Contains(all[:i], a) || slices.ContainsFunc(boxes, known) {
			continue
		}
		box, err := d.Dir.Mailbox(a)
		if errors.Is(err, directory.ErrNotFound) {
			d.Log.Error("the mailbox for archive copies does not exist", "mailbox", a.String())
			continue
		} else if err != nil {
			return nil, err
		}
		boxes = append(boxes, box)
	}
	return boxes, nil
}

func (d *Dispatcher) archivesOfSender(a addr.Address) (all []addr.Address, err error) {
	if a.IsZero() {
		return nil, nil
	}
	domain, err := d.Dir.Domain(a.Domain)
	if errors.Is(err, directory.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	box, err := d.Dir.Mailbox(a)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return nil, err
	}
	for _, archive := range []addr.Address{domain.Archive, box.Account.Archive} {
		if !archive.IsZero() {
			all = append(all, archive.Fold())
		}
	}
	return all, nil
}

// addCopies returns the directories of mailboxes with those of archives, and the archives that were
// not among them.
func addCopies(dirs []string, archives []directory.Mailbox) (with, exempt []string) {
	with = slices.Clone(dirs)
	for _, box := range archives {
		if exempt = append(exempt, box.Dir); !slices.Contains(with, box.Dir) {
			with = append(with, box.Dir)
		}
	}
	return with, exempt
}

// trackApplied adds the events of rules and archives.
func (d *Dispatcher) trackApplied(id string, m *Message, a *applied, size int64) {
	for _, e := range a.events {
		e.ID, e.From = id, m.Envelope.From.String()
		d.Track.Add(e)
	}
	for _, box := range a.archives {
		d.Track.Add(track.Event{
			Kind: track.Archived, ID: id, From: m.Envelope.From.String(),
			To: box.Address.String(), Size: size,
		})
	}
}
