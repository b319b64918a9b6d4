package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"pillarbox/mailstore/durable"
)

// A state says its version. A release that adds members that older ones may ignore leaves the version as it is: older
// ones keep the members that they do not know. A release whose states older ones must not touch raises the version.

// NewerError says that a newer release wrote the state of a message, and that this one must leave the message alone. It
// stays in the queue, and is not sent.
type NewerError struct {
	ID      string
	Version int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s: "+NewerText+", in version %d; this one knows version %d and leaves the message alone",
		e.ID, e.Version, version)
}

// NewerText is in the text of each NewerError, for those who get it from another process.
const NewerText = "a newer release wrote its state"

// isNewer reports whether err is a *NewerError.
func isNewer(err error) bool {
	_, newer := errors.AsType[*NewerError](err)
	return newer
}

// newerLook is how often a message is read again whose state a newer release wrote: the file may be put right by hand.
const newerLook = time.Hour

// decodeKnown reads a state that has no members but those of Item, and reports whether it is one.
func decodeKnown(state []byte, it *Item) bool {
	dec := json.NewDecoder(bytes.NewReader(state))
	dec.DisallowUnknownFields()
	if dec.Decode(it) != nil {
		return false
	}
	_, err := dec.Token()
	return errors.Is(err, io.EOF)
}

// versionOf is the version of a state that may have another form in all else; 0 if it has none.
func versionOf(state []byte) int {
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(state, &head) != nil {
		return 0
	}
	return head.Version
}

// withUnknown adds to the text of an item the members that a newer release wrote into its state. Recipients never change
// their places.
func (it *Item) withUnknown(text []byte) ([]byte, error) {
	text, err := durable.KeepUnknown(text, it.read, *it)
	if err != nil {
		return nil, err
	}
	const list = "to"
	var now map[string]json.RawMessage
	var to []json.RawMessage
	var before struct {
		To []json.RawMessage `json:"to"`
	}
	if err := errors.Join(json.Unmarshal(text, &now), json.Unmarshal(now[list], &to), json.Unmarshal(it.read, &before)); err != nil {
		return nil, err
	}
	for i := range min(len(to), len(before.To)) {
		if to[i], err = durable.KeepUnknown(to[i], before.To[i], Recipient{}); err != nil {
			return nil, err
		}
	}
	if now[list], err = json.Marshal(to); err != nil {
		return nil, err
	}
	return json.Marshal(now)
}

// comeBack lets a message be read again later whose state cannot be read now. It needs mu held.
func (q *Queue) comeBack(e *entry, err error) {
	wait := again
	if isNewer(err) {
		if wait = newerLook; !e.newer {
			q.Log.Error("a newer release wrote the state of a message in the queue; it stays there and is not sent", "id", e.id, "reason", err,
				"hint", "start the newer release; 'pillarbox admin check' names all such messages")
		}
	}
	e.newer = isNewer(err)
	q.setDeadline(e, q.now().Add(wait))
}

// Newer returns the messages that stay untouched because a newer release wrote their states.
func (q *Queue) Newer() (ids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, e := range q.entries {
		if e.newer {
			ids = append(ids, id)
		}
	}
	return ids
}
