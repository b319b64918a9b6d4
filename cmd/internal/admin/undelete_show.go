package admin

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"pillarbox/mailstore"
	"pillarbox/mailstore/head"
)

// maxDeletedHead is the number of octets of a deleted message that are read for its sender and subject.
const maxDeletedHead = 64 << 10

// DeletedToShow is the input of UndeleteShow.
type DeletedToShow struct {
	User  string
	Limit int // of messages
}

// ShownDeleted is a deleted message with what a person knows it by. It shows what is in the message, so an
// operator who may only look does not get it.
type ShownDeleted struct {
	DeletedMail
	From    string `json:"from"`    // decoded (RFC 2047); "": unknown
	Subject string `json:"subject"` // likewise
}

// ShownDeletions is the answer of UndeleteShow.
type ShownDeletions struct {
	Count    int            `json:"count"` // beyond the limit too
	Messages []ShownDeleted `json:"messages"`
}

// showDeleted returns the deleted messages of a mailbox with their senders and subjects, the latest deletion first.
func (o *Service) showDeleted(in DeletedToShow) (ShownDeletions, error) {
	out := ShownDeletions{Messages: []ShownDeleted{}}
	a, err := o.ParseUser(in.User)
	if err != nil {
		return out, err
	}
	a = a.Fold()
	if err := o.requireName(a); err != nil {
		return out, err
	}
	box, err := o.Dir.Mailbox(a)
	if err != nil {
		return out, o.explain(err, a.Domain, "domain show "+string(a.Domain))
	}
	deleted, err := o.Store.Deleted(box.Dir)
	out.Count = len(deleted)
	for _, d := range slices.Backward(deleted) {
		if len(out.Messages) >= in.Limit {
			break
		}
		from, subject, err := o.deletedHead(box.Dir, d)
		if errors.Is(err, fs.ErrNotExist) {
			continue // restored or removed since
		}
		out.Messages = append(out.Messages, ShownDeleted{o.deletedMail(a, d), from, subject})
	}
	return out, err
}

// deletedHead reads the sender and the subject of a deleted message.
func (o *Service) deletedHead(dir string, d mailstore.DeletedMessage) (from, subject string, err error) {
	f, err := o.Store.OpenDeleted(dir, d)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDeletedHead))
	h := head.Parse(text)
	return strings.Join(h.Texts("from"), ", "), strings.Join(h.Texts("subject"), " "), err
}
