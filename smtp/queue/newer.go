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

// Each state has a version. A release that adds members which old releases may ignore keeps the
// version: old releases preserve unknown members. A release raises the version if old releases must
// not touch its states.

// NewerError means that a newer release wrote a message's state. This release must leave the
// message alone: it stays in the queue and is not sent.
type NewerError struct {
	ID      string
	Version int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s: a newer release wrote its state, in version %d; "+
		"this release knows version %d and leaves the message alone", e.ID, e.Version, version)
}

func isNewer(err error) bool {
	_, newer := errors.AsType[*NewerError](err)
	return newer
}

// newerRecheck is how often a newer release's state is read again: an administrator may have
// replaced the file.
const newerRecheck = time.Hour

// decodeKnown decodes a state, and reports whether it has only members that Item has.
func decodeKnown(state []byte, it *Item) bool {
	dec := json.NewDecoder(bytes.NewReader(state))
	dec.DisallowUnknownFields()
	if dec.Decode(it) != nil {
		return false
	}
	_, err := dec.Token()
	return errors.Is(err, io.EOF)
}

// versionOf returns the version of a state whose other members may be unknown; 0 if it has none.
func versionOf(state []byte) int {
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(state, &head) != nil {
		return 0
	}
	return head.Version
}

// withUnknown adds unknown members from the state that was read to the text of an item. Recipients
// never change their order.
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
	err = errors.Join(json.Unmarshal(text, &now), json.Unmarshal(now[list], &to),
		json.Unmarshal(it.read, &before))
	if err != nil {
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

// retryLoadLocked schedules another read of a state that cannot be read now.
func (q *Queue) retryLoadLocked(e *entry, err error) {
	wait := diskRetryDelay
	if isNewer(err) {
		if wait = newerRecheck; !e.newer {
			q.Log.Error("a newer release wrote the state of a queued message; it is not sent",
				"message_id", e.id, "reason", err,
				"hint", "start the newer release; 'pillarbox admin check' names all such messages")
		}
	}
	e.newer = isNewer(err)
	q.setDeadlineLocked(e, q.now().Add(wait))
}

// Newer returns the IDs of the messages whose states a newer release wrote.
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
