package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
)

// domainPart is a part of a domain's file that has changed: an alias, a group, the full name of a
// mailbox or, with no local part, the rest.
type domainPart struct {
	local         string
	before, after any
}

// domainParts returns the parts that differ between two states of a domain's file.
func domainParts(before, after *directory.DomainFile) []domainPart {
	parts := changedParts("alias", before.Aliases, after.Aliases)
	parts = append(parts, changedParts("group", before.Groups, after.Groups)...)
	parts = append(parts, changedParts("full_name", fullNames(before), fullNames(after))...)
	was, is := *before, *after
	was.Aliases, was.Groups, is.Aliases, is.Groups = nil, nil, nil, nil
	was.Names, is.Names = nil, nil
	if !sameJSON(was, is) {
		parts = append(parts, domainPart{before: was, after: is})
	}
	return parts
}

// fullNames returns the full names by the local parts of their mailboxes.
func fullNames(f *directory.DomainFile) map[string]string {
	all := make(map[string]string)
	for name, boxes := range f.Names {
		for _, box := range boxes {
			all[box.Local] = name
		}
	}
	return all
}

func changedParts[T any](kind string, before, after map[string]T) []domainPart {
	var parts []domainPart
	names := maps.Clone(before)
	if names == nil {
		names = map[string]T{}
	}
	maps.Copy(names, after)
	for _, local := range slices.Sorted(maps.Keys(names)) {
		was, there := before[local]
		is, stays := after[local]
		if there && stays && sameJSON(was, is) {
			continue
		}
		part := domainPart{local: local}
		if there {
			part.before = map[string]any{kind: was}
		}
		if stays {
			part.after = map[string]any{kind: is}
		}
		parts = append(parts, part)
	}
	return parts
}

// sameJSON reports whether two values have the same JSON form.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// recordTransfer records a transfer that copied messages.
func (o *Service) recordTransfer(done string, t Transfer) {
	if t.Messages == 0 {
		return
	}
	o.Record(t.Mailbox.String(), nil, map[string]any{done: t.Messages, "bytes": t.Bytes, "format": t.Format, "place": t.Place})
	kind := track.Exported
	if done == "imported" {
		kind = track.Imported
	}
	o.addEvent(track.Event{
		Kind: kind, To: t.Mailbox.String(), Count: int64(t.Messages), Size: t.Bytes, Text: t.Place,
	})
}

// recordRepairs records the repairs of a check. target is a mailbox, a domain or "".
func (o *Service) recordRepairs(target string, findings []Finding) {
	repaired := 0
	for _, f := range findings {
		if f.Repaired {
			repaired++
		}
	}
	if repaired > 0 {
		o.Record(cmp.Or(target, "all mail"), nil, map[string]any{"repaired": repaired})
	}
}
