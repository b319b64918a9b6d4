package collect

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxHeader is how much of a message is looked at.
const maxHeader = 64 << 10

// headerField is a field of a header, its name in small letters, its value without the ends of folded lines.
type headerField struct {
	name  string
	value []byte
}

// readTop reads the header of a message, or the beginning of one that is long, and perhaps some of the text.
func readTop(r io.Reader) (top []byte, err error) {
	part := make([]byte, maxLine)
	for len(top) < maxHeader {
		n, err := r.Read(part)
		from := max(len(top)-3, 0)
		top = append(top, part[:n]...)
		if errors.Is(err, io.EOF) {
			return top, nil
		} else if err != nil {
			return nil, err
		}
		if bytes.Contains(top[from:], []byte("\r\n\r\n")) {
			break
		}
	}
	return top, nil
}

// fieldsOf takes a header apart, as far as it is one.
func fieldsOf(top []byte) (fields []headerField) {
	if header, _, ok := bytes.Cut(top, []byte("\r\n\r\n")); ok {
		top = header
	}
	for line := range strings.SplitSeq(string(top), "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if len(fields) > 0 {
				last := &fields[len(fields)-1]
				last.value = append(last.value, line...)
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fields
		}
		fields = append(fields, headerField{strings.ToLower(strings.TrimRight(name, " \t")), []byte(value)})
	}
	return fields
}
