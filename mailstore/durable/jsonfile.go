package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"
)

// changeWait is how long a change waits for another one.
const changeWait = 10 * time.Second

// A JSONFile is a small file of JSON that programs and people change: read again
// when its stat is another, and replaced as a whole, under a lock, by every
// change. T is what becomes of its text; it is shared and must not be changed. Safe
// for concurrent use, also by several processes.
type JSONFile[T any] struct {
	fsys       FS
	name, lock string
	parse      func(text []byte) (T, error)
	last       atomic.Pointer[reading[T]]
}

// reading is what the file was at one stat; an error is the file's own.
type reading[T any] struct {
	info  fs.FileInfo
	value T
	err   error
}

// NewJSONFile is a file of that name, whose changes take a lock on another. parse
// makes of its text what Load returns; a file that is not there is the zero T.
func NewJSONFile[T any](fsys FS, name, lock string, parse func(text []byte) (T, error)) *JSONFile[T] {
	return &JSONFile[T]{fsys: fsys, name: name, lock: lock, parse: parse}
}

// Load returns what the file says now. An error of parse comes again at no cost
// until the file is another.
func (f *JSONFile[T]) Load() (value T, err error) {
	info, err := f.fsys.Lstat(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return value, nil
	} else if err != nil {
		return value, err
	}
	if last := f.last.Load(); last != nil && Unchanged(last.info, info) {
		return last.value, last.err
	}
	text, err := ReadFile(f.fsys, f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return value, nil
	} else if err != nil {
		return value, err
	}
	// The stat came before the read: a file replaced between the two is read again
	// next time, never taken for fresh.
	now := &reading[T]{info: info}
	now.value, now.err = f.parse(text)
	f.last.Store(now)
	return now.value, now.err
}

// Change replaces the file by what edit makes of it, as JSON; nil leaves it as it
// is. An error, one of the file's own too, leaves it as it was.
func (f *JSONFile[T]) Change(edit func(T) (content any, err error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), changeWait)
	defer cancel()
	unlock, err := Lock(ctx, f.fsys, f.lock)
	if err != nil {
		return err
	}
	defer unlock()
	value, err := f.Load()
	if err != nil {
		return err
	}
	content, err := edit(value)
	if err != nil || content == nil {
		return err
	}
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(f.fsys, f.name, append(text, '\n'), 0o600)
}

// DecodeStrict reads JSON into v and refuses members that v does not have: a
// typing error in an editor must not silently permit more, or less.
func DecodeStrict(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
