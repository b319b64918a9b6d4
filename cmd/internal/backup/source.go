package backup

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

// Source is what a backup copies.
type Source struct {
	Data durable.FS // the data directory
	// Config are files outside the data directory, by their name below config/.
	Config map[string][]byte
}

// LeftOut is a row of the table of files that no backup needs.
type LeftOut struct {
	Name string // in the data directory, as path.Match knows it
	Why  string
}

// LeftOuts returns that table. Everything else in the data directory is copied, whatever it is.
func LeftOuts() []LeftOut {
	return []LeftOut{
		{"lock", "it means that a process runs"},
		{"*.sock", "the server makes its sockets when it starts"},
		{"log", "a backup begins when all that the log holds is in its files"},
		{"incoming", "messages that were not acknowledged, or are in their mailboxes"},
		{StateFile, "when this machine made its last backup"},
		{RestoreMark, "a restore that has not finished"},
	}
}

// The files of backups in the data directory.
const (
	StateFile   = "backup.json"
	RestoreMark = "restore-unfinished"
)

// leavesOut reports whether a name in the data directory is not copied. Besides the table, these
// are the unfinished files of durable.WriteFile, in any directory.
func leavesOut(name string) bool {
	return durable.IsTemp(path.Base(name)) || slices.ContainsFunc(LeftOuts(), func(l LeftOut) bool {
		matches, _ := path.Match(l.Name, name)
		return matches
	})
}

// sizeInName returns the size that a message's file name promises. The file of such a name never
// changes.
func sizeInName(name string) (size int64, ok bool) {
	n, ok := mailstore.ParseName(path.Base(name))
	return n.Size, ok
}

// visitor takes what a walk meets, in the order of compare. Names are in the data directory.
type visitor interface {
	directory(name string) error
	file(name string) error
	// passedOver is called for what is neither a file nor a directory, and for what cannot be read.
	passedOver(name, why string)
}

// walk visits a directory and everything below it. A directory that is gone is passed silently.
func walk(fsys durable.FS, dir string, v visitor) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		if !isGone(err) {
			v.passedOver(dir, err.Error())
		}
		return nil
	}
	var files, dirs []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case leavesOut(name):
		case e.IsDir():
			dirs = append(dirs, e.Name())
		case e.Type().IsRegular():
			files = append(files, e.Name())
		case e.Type()&fs.ModeSocket == 0:
			v.passedOver(name, "is not a regular file")
		}
	}
	slices.Sort(files)
	for _, base := range files {
		if err := v.file(path.Join(dir, base)); err != nil {
			return err
		}
	}
	slices.SortFunc(dirs, func(a, b string) int {
		if dir == "." && early(a) != early(b) {
			return early(b) - early(a)
		}
		return strings.Compare(a, b)
	})
	for _, base := range dirs {
		name := path.Join(dir, base)
		if err := v.directory(name); err != nil {
			return err
		}
		if err := walk(fsys, name, v); err != nil {
			return err
		}
	}
	return nil
}

// mailboxDirs returns the directories of domains and mailboxes.
func mailboxDirs(fsys durable.FS) (map[string]bool, error) {
	all := map[string]bool{}
	const top = "mailbox"
	domains, err := fsys.ReadDir(top)
	if isGone(err) {
		return all, nil
	} else if err != nil {
		return nil, err
	}
	for _, d := range domains {
		if !d.IsDir() {
			continue
		}
		domain := path.Join(top, d.Name())
		boxes, err := fsys.ReadDir(domain)
		if err != nil && !isGone(err) {
			return nil, err
		}
		for _, b := range boxes {
			if b.IsDir() {
				all[path.Join(domain, b.Name())] = true
			}
		}
	}
	return all, nil
}
