package durable

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"
)

// changeWait is how long Change waits for another one.
const changeWait = 10 * time.Second

// JSONFile is a small JSON file that programs and people edit. Load reads it again when its stat
// has changed. Change replaces it as a whole, under a lock. T is the parsed content; it is shared
// and must not be changed. A JSONFile is safe for concurrent use, also by several processes.
type JSONFile[T any] struct {
	fsys       FS
	name, lock string
	parse      func(text []byte) (T, error)
	last       atomic.Pointer[reading[T]]
	damages    *DamageReporter
}

// reading is the result of one read; err is an error in the content.
type reading[T any] struct {
	info  fs.FileInfo
	value T
	err   error
}

// NewJSONFile returns the JSONFile called name. Change takes the lock file lock. parse turns the
// text into the value that Load returns. For a missing file Load returns the zero T.
func NewJSONFile[T any](
	fsys FS, name, lock string, parse func(text []byte) (T, error),
) *JSONFile[T] {
	return &JSONFile[T]{fsys: fsys, name: name, lock: lock, parse: parse}
}

// Report makes f report to d when the file cannot be read, and returns f. It must be called first.
func (f *JSONFile[T]) Report(d *DamageReporter) *JSONFile[T] {
	f.damages = d
	return f
}

// Load returns the content of the file. An error of parse, or a *FileError, is cached until the
// file changes.
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
	// The stat precedes the read: a file that is replaced between the two is read again by the next
	// Load.
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

// Change replaces the file with the JSON of the content that edit returns; nil leaves the file
// unchanged. Members that a newer release wrote are kept. After an error the file is unchanged. It
// is an error if the file cannot be read.
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
