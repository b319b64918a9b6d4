package directory

import (
	"bytes"
	"errors"
	"io/fs"
	"sync"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// copyFile is the last good copy of a domain's file, beside the file. Groups of one domain may
// restrict mailboxes of another. If the file is damaged when the server starts, the copy keeps
// these restrictions in force.
const copyFile = "domain.json.last"

// copies writes the copies, if KeepCopies has turned them on.
type copies struct {
	mu   sync.Mutex
	on   bool
	done map[addr.Domain]*DomainFile // what was written last
}

// KeepCopies makes the directory keep a copy of each domain's file that it can read. Only the
// server calls it.
func (d *Directory) KeepCopies() error {
	d.copies.mu.Lock()
	d.copies.on, d.copies.done = true, make(map[addr.Domain]*DomainFile)
	d.copies.mu.Unlock()
	index, err := d.parentIndex()
	if err == nil {
		d.keepCopies(index)
	}
	return err
}

// keepCopies writes the outdated copies. If a write fails, it is repeated when a domain's file
// changes again.
func (d *Directory) keepCopies(x *parentIndex) {
	d.copies.mu.Lock()
	defer d.copies.mu.Unlock()
	if !d.copies.on {
		return
	}
	for i, name := range x.domains {
		if file := x.read[i]; file != nil && d.copies.done[name] != file &&
			d.keepCopy(name, file) == nil {
			d.copies.done[name] = file
		}
	}
}

func (d *Directory) keepCopy(name addr.Domain, file *DomainFile) error {
	text, err := durable.Encode(file, nil)
	if err != nil {
		return err
	}
	path := DomainDir(name) + "/" + copyFile
	old, err := durable.ReadSmall(d.fsys, path, durable.MaxSmall)
	if err == nil && bytes.Equal(old, text) ||
		errors.Is(err, fs.ErrNotExist) && string(text) == "{}\n" {
		return nil // an empty file restricts as little as no copy
	}
	return durable.WriteFile(d.fsys, path, text, 0o600)
}

// lastCopy returns the last good content of a domain's file, or nil.
func (d *Directory) lastCopy(name addr.Domain) *DomainFile {
	path := DomainDir(name) + "/" + copyFile
	if _, err := d.fsys.Lstat(path); err != nil {
		return nil
	}
	file, err := readJSON[DomainFile](d.fsys, path)
	if err != nil {
		return nil
	}
	return file
}
