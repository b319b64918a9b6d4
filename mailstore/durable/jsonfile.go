package durable

import (
	"context"
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
	damages    *DamageReporter
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

// Report makes f report to d when its file cannot be read, and returns f. It is called before all else.
func (f *JSONFile[T]) Report(d *DamageReporter) *JSONFile[T] {
	f.damages = d
	return f
}

// Load returns what the file says now. An error of parse, or a *FileError, comes again at no cost
// until the file is another.
func (f *JSONFile[T]) Load() (value T, err error) {
	value, err = f.load()
	f.damages.Report(f.name, err)
	return value, err
}

func (f *JSONFile[T]) load() (value T, err error) {
	info, err := f.fsys.Lstat(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return value, nil
	} else if err != nil {
		return value, err
	}
	if last := f.last.Load(); last != nil && Unchanged(last.info, info) {
		return last.value, last.err
	}
	// The stat comes before the read: a file replaced between the two is read again
	// next time, never taken for fresh.
	now := &reading[T]{info: info}
	text, err := ReadSmall(f.fsys, f.name, MaxSmall)
	if odd, ok := errors.AsType[*FileError](err); ok {
		now.err = odd
	} else if errors.Is(err, fs.ErrNotExist) {
		return value, nil
	} else if err != nil {
		return value, err
	} else {
		now.value, now.err = f.parse(text)
	}
	f.last.Store(now)
	return now.value, now.err
}

// Change replaces the file by what edit makes of it, as JSON; nil leaves it as it
// is. What a newer release wrote into the file is kept. An error, one of the file's own too, leaves it as it was.
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
	return WriteJSON(f.fsys, f.name, content)
}
