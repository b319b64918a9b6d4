package durable

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// PeekLog calls do with each record in the log in the directory dir, and changes nothing. It
// returns the known damage by file. Call it only while no process has the log open. A missing log
// has no records.
func PeekLog(
	fsys FS, dir string, do func(record []byte) error,
) (damage map[string]string, err error) {
	segments, err := peekSegments(fsys, dir)
	if err != nil {
		return nil, err
	}
	damage = make(map[string]string)
	for _, s := range segments {
		if err := s.records(do); err != nil {
			return nil, err
		}
		if s.damage != "" {
			damage[s.name] = s.damage
		}
	}
	return damage, nil
}

// LogUnused reports whether the log in the directory dir never took a record: its files are missing
// or new.
func LogUnused(fsys FS, dir string) (bool, error) {
	segments, err := peekSegments(fsys, dir)
	used := slices.ContainsFunc(segments, func(s *segment) bool {
		return s.salt != 0 || s.damage != ""
	})
	return err == nil && !used, err
}

// peekSegments reads the headers of the segments that exist.
func peekSegments(fsys FS, dir string) (all []*segment, err error) {
	for i := range 2 {
		s, err := peekSegment(fsys, logFile(dir, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func peekSegment(fsys FS, name string) (*segment, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &segment{fsys: fsys, name: name, file: f}
	return s, s.readHeader()
}

// DamagedLogs returns the names of the damaged files that a log has kept, oldest first.
func DamagedLogs(fsys FS, dir string) ([]string, error) {
	names, err := fsys.ReadNames(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, damagedPrefix)
	})
	slices.Sort(names)
	for i, name := range names {
		names[i] = path.Join(dir, name)
	}
	return names, nil
}
