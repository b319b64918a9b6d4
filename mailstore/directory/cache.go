package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// DamagedError is an ErrDamaged that names the file. Only that domain or that mailbox is affected.
type DamagedError struct {
	File string // below the data directory
	Err  error  // for the administrator who repairs the file
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s: %v: %v", e.File, ErrDamaged, e.Err)
}

// Is makes it an ErrDamaged.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }
func (e *DamagedError) Unwrap() error        { return e.Err }

// cacheGeneration is the maximum number of files in one generation of a fileCache. Two full
// generations take about 16 MB.
const cacheGeneration = 10_000

// fileCache caches parsed JSON files, including the errors of damaged ones, and checks each with a
// stat. A missing file reads as the zero value. When the young generation is full it becomes the
// old one; entries that are used in the old generation move to the young one.
type fileCache[T any] struct {
	none    T // value of a missing file; always this pointer
	damages *durable.DamageReporter

	mu         sync.Mutex
	young, old map[string]cached[T] // guarded by mu
}

type cached[T any] struct {
	stamp durable.Stamp
	value *T
	err   error // a *DamagedError
}

func (c *fileCache[T]) get(fsys durable.FS, name string) (*T, error) {
	info, err := fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &c.none, nil
	} else if err != nil {
		return nil, err
	}
	stamp, ok := durable.StampOf(info)
	if e, found := c.find(name); found && ok && e.stamp == stamp {
		if e.err != nil {
			c.damages.Report(name, e.err)
		}
		return e.value, e.err
	}
	value, err := readJSON[T](fsys, name)
	c.damages.Report(name, err)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	// The stat came before the read, so a file that was replaced between them is read again
	// next time.
	c.keep(name, cached[T]{stamp, value, err})
	return value, err
}

func (c *fileCache[T]) find(name string) (cached[T], bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[name]
	if !ok {
		if e, ok = c.old[name]; ok {
			c.keepLocked(name, e)
		}
	}
	return e, ok
}

func (c *fileCache[T]) keep(name string, e cached[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keepLocked(name, e)
}

func (c *fileCache[T]) keepLocked(name string, e cached[T]) {
	if c.young == nil || len(c.young) >= cacheGeneration {
		c.young, c.old = make(map[string]cached[T]), c.young
	}
	c.young[name] = e
}

func readJSON[T any](fsys durable.FS, name string) (*T, error) {
	data, err := durable.ReadSmall(fsys, name, durable.MaxSmall)
	if odd, ok := errors.AsType[*durable.FileError](err); ok {
		return nil, &DamagedError{name, errors.New(odd.Why)}
	} else if errors.Is(err, fs.ErrNotExist) {
		return new(T), nil
	} else if err != nil {
		return nil, err
	}
	value := new(T)
	if err := durable.DecodeStrict(data, value); err != nil {
		return nil, &DamagedError{name, err}
	}
	return value, nil
}

func writeJSON[T any](fsys durable.FS, name string, value *T) error {
	return durable.WriteJSON(fsys, name, value)
}

// Report makes the directory report unreadable files to damages. It must be called before any other
// method.
func (d *Directory) Report(damages *durable.DamageReporter) {
	d.domains.damages, d.accounts.damages = damages, damages
}

// damage returns the error of a hosted domain's file, or nil.
func (d *Directory) damage(name addr.Domain) error {
	if addr.CheckDomainName(name) != nil || name == "" {
		return nil
	}
	_, err := d.domains.get(d.fsys, DomainDir(name)+"/"+domainFile)
	return err
}
