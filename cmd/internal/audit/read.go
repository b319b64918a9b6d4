package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
)

// Read returns the newest events for which want is true, in the order of the file, and at most
// limit of them; 0 means no limit. damaged is the number of lines that it skipped because they
// cannot be parsed. A rotation during the call may hide the events of one file.
func (l *Log) Read(want func(Event) bool, limit int) (found []Event, damaged int, err error) {
	for n := range Keep + 1 {
		part, bad, err := l.readFile(fileName(n), want)
		if err != nil {
			return nil, 0, err
		}
		damaged += bad
		found = append(part, found...)
		if limit > 0 && len(found) >= limit {
			return slices.Clone(found[len(found)-limit:]), damaged, nil
		}
	}
	return found, damaged, nil
}

func (l *Log) readFile(name string, want func(Event) bool) (found []Event, damaged int, err error) {
	f, err := l.fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 2*maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			damaged++
			if err := skipLine(lines); errors.Is(err, io.EOF) {
				return found, damaged, nil
			} else if err != nil {
				return nil, 0, err
			}
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, 0, err
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			var e Event
			if json.Unmarshal(text, &e) != nil || e.Time.IsZero() {
				damaged++
			} else if want(e) {
				found = append(found, e)
			}
		}
		if err != nil {
			return found, damaged, nil
		}
	}
}

// skipLine reads the rest of a line that is longer than the buffer.
func skipLine(lines *bufio.Reader) error {
	for {
		_, err := lines.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
