package delivery

import (
	"bytes"
	"cmp"
	"mime"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/head"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

// track adds the events of a message that was accepted: what came from where, and for each
// recipient where it went. full are the mailboxes that did not get it; took is the time of the
// commit.
func (d *Dispatcher) track(
	in *mailstore.Incoming, m *Message, item *queue.Item, full []addr.Address, took time.Duration,
) {
	if d.Track == nil {
		return
	}
	id, from := in.ID(), m.Envelope.From.String()
	head := readFields(m.Header)
	d.Track.Add(track.Event{
		Kind: track.Accepted, ID: id, Parent: m.Parent, From: from, MessageID: head.messageID,
		Subject: head.subject, Service: m.Source.Service, Remote: m.Source.Remote,
		Host: m.Source.Helo, User: cmp.Or(m.Source.User.String(), m.Device), Rule: m.Rule,
		Text: head.program, Size: in.Size(), Count: int64(len(m.Envelope.To)), Took: took,
	})
	add := func(kind track.Kind, to addr.Address) {
		d.Track.Add(track.Event{Kind: kind, ID: id, From: from, To: to.String(), Size: in.Size()})
	}
	for i := range m.Targets {
		for _, end := range m.Targets[i].ends() {
			d.Track.Add(track.Event{
				Kind: track.Expanded, ID: id, From: from,
				To: m.Targets[i].Address.String(), Target: end.String(),
			})
		}
	}
	for _, box := range m.boxes() {
		if !slices.Contains(full, box.Address) {
			add(track.Delivered, box.Address)
		}
	}
	for _, box := range full {
		add(track.OverQuota, box)
	}
	if item != nil {
		for i := range item.To {
			add(track.Queued, item.To[i].Address)
		}
	}
}

// ends returns the addresses that the recipient stands for, without its own.
func (t *Target) ends() (all []addr.Address) {
	for _, box := range t.Boxes {
		all = append(all, box.Address)
	}
	all = append(append(all, t.Remote...), t.Full...)
	return slices.DeleteFunc(all, func(a addr.Address) bool { return a == t.Address })
}

// headFields are the fields of a message's header that an event has.
type headFields struct {
	messageID string // without angle brackets
	subject   string
	program   string // that wrote the message
}

// readFields reads the fields of a header. It cuts long ones short.
func readFields(header []byte) (f headFields) {
	for len(header) > 0 {
		end := head.FieldEnd(header)
		field := header[:end]
		header = header[end:]
		name, _ := smtp.FieldName(field)
		switch name {
		case "message-id":
			f.messageID = strings.Trim(value(field), "<>")
		case "subject":
			f.subject = value(field)
			if text, err := new(mime.WordDecoder).DecodeHeader(f.subject); err == nil {
				f.subject = text
			}
		case "user-agent", "x-mailer":
			f.program = value(field)
		}
	}
	return f
}

// value returns what follows the name of a field, unfolded.
func value(field []byte) string {
	const most = 1000 // octets
	_, v, _ := bytes.Cut(field, []byte{':'})
	return strings.Join(strings.Fields(string(v[:min(len(v), most)])), " ")
}

// headCopy keeps a copy of the header of a message that passes through it.
type headCopy struct {
	octets []byte
	ended  bool
}

// maxHead is the length above which a header is not kept, in octets. Sessions accept no longer one.
const maxHead = 256 << 10

// Write implements io.Writer.
func (h *headCopy) Write(p []byte) (int, error) {
	if h.ended {
		return len(p), nil
	}
	seen := max(0, len(h.octets)-3)
	h.octets = append(h.octets, p...)
	if i := bytes.Index(h.octets[seen:], []byte("\r\n\r\n")); i >= 0 {
		h.octets, h.ended = h.octets[:seen+i+4], true
	} else if len(h.octets) > maxHead {
		h.octets, h.ended = nil, true
	}
	return len(p), nil
}
