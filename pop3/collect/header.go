package collect

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxHeader is the largest header that readTop reads, in octets.
const maxHeader = 64 << 10

// headerField is one field of a header. The name is in lower case; a folded value is joined without
// the line ends.
type headerField struct {
	name  string
	value []byte
}

// readTop reads the header of a message, up to maxHeader, and perhaps some of the body.
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

// fieldsOf parses a header up to the first line that is not a field.
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
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		fields = append(fields, headerField{name, []byte(value)})
	}
	return fields
}
