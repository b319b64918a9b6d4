package arc

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"strings"
)

const (
	maxHeader = 256 << 10 // octets
	maxFields = 2000
	maxNames  = 500 // fields that a signature covers
)

var errHeader = errors.New("the header is too large to be sealed")

// field is a header field.
type field struct {
	name  string
	value string // with its folding, without the last CRLF
}

func newField(name, value string) field { return field{name, " " + value} }

func (f field) text() string { return f.name + ":" + f.value + "\r\n" }

func (f field) is(name string) bool { return strings.EqualFold(f.name, name) }

// relaxed returns the field in the relaxed canonical form (RFC 6376 §3.4.2), without CRLF.
func (f field) relaxed() string {
	words := strings.FieldsFunc(f.value, func(r rune) bool {
		return r == ' ' || r == '\t' || r == '\r' || r == '\n'
	})
	return strings.ToLower(f.name) + ":" + strings.Join(words, " ")
}

// simple returns the field as it is (RFC 6376 §3.4.1), without the last CRLF.
func (f field) simple() string { return f.name + ":" + f.value }

// unsigned returns the field without the value of its tag b.
func (f field) unsigned() field {
	parts := strings.Split(f.value, ";")
	for i, part := range parts {
		if name, _, ok := strings.Cut(part, "="); ok && strings.TrimSpace(name) == "b" {
			parts[i] = name + "="
		}
	}
	f.value = strings.Join(parts, ";")
	return f
}

// tags returns the tags of the field (RFC 6376 §3.2), without white space in the values.
func (f field) tags() map[string]string {
	tags := map[string]string{}
	for part := range strings.SplitSeq(f.value, ";") {
		name, value, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); ok && name != "" {
			if _, twice := tags[name]; !twice {
				tags[name] = strings.Join(strings.Fields(value), "")
			}
		}
	}
	return tags
}

// parsed is a message that was read.
type parsed struct {
	header                  []field
	relaxedBody, simpleBody []byte // SHA-256 of the canonical forms
}

// read reads a message once.
func read(message io.Reader) (*parsed, error) {
	in := bufio.NewReaderSize(message, 32<<10)
	m := &parsed{}
	var value []byte // of the last field
	finish := func() {
		if n := len(m.header); n > 0 {
			m.header[n-1].value = string(value)
		}
	}
	for size := 0; ; {
		line, err := in.ReadString('\n')
		if size += len(line); size > maxHeader {
			return nil, errHeader
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			value = append(append(value, "\r\n"...), line...)
			continue
		}
		finish()
		name, rest, _ := strings.Cut(line, ":")
		value = append(value[:0], rest...)
		m.header = append(m.header, field{name: strings.TrimRight(name, " \t")})
		if len(m.header) > maxFields {
			return nil, errHeader
		}
	}
	finish()
	relaxed, simple := &body{hash: sha256.New(), relaxed: true}, &body{hash: sha256.New()}
	if _, err := io.Copy(io.MultiWriter(relaxed, simple), in); err != nil {
		return nil, err
	}
	m.relaxedBody, m.simpleBody = relaxed.sum(), simple.sum()
	return m, nil
}

// ownResults returns the results in the first Authentication-Results field of a server (RFC 8601
// §2.2), with their folding, or "".
func (m *parsed) ownResults(hostname string) string {
	for _, f := range m.header {
		id, results, _ := strings.Cut(f.value, ";")
		if f.is("Authentication-Results") && strings.EqualFold(strings.TrimSpace(id), hostname) {
			return results
		}
	}
	return ""
}

// body hashes the canonical form of a body (RFC 6376 §3.4.3, §3.4.4), however long its lines are.
type body struct {
	hash    hash.Hash
	relaxed bool

	buf   bytes.Buffer
	ends  int // line ends that count only if something follows
	space bool
	cr    bool
	any   bool // something was hashed
}

func (b *body) Write(p []byte) (int, error) {
	for _, c := range p {
		if b.cr {
			if b.cr = false; c != '\n' {
				b.put('\r')
			}
		}
		switch {
		case c == '\r':
			b.cr = true
		case c == '\n':
			b.ends, b.space = b.ends+1, false
		case b.relaxed && (c == ' ' || c == '\t'):
			b.space = true
		default:
			b.put(c)
		}
	}
	b.flush(16 << 10)
	return len(p), nil
}

func (b *body) put(c byte) {
	for ; b.ends > 0; b.ends-- {
		b.buf.WriteString("\r\n")
		b.flush(64 << 10)
	}
	if b.space {
		b.buf.WriteByte(' ')
		b.space = false
	}
	b.buf.WriteByte(c)
	b.any = true
}

// flush hashes what was collected, once it is more than some octets.
func (b *body) flush(over int) {
	if b.buf.Len() > over {
		b.hash.Write(b.buf.Bytes())
		b.buf.Reset()
	}
}

func (b *body) sum() []byte {
	if b.cr {
		b.put('\r')
	}
	if b.any || !b.relaxed {
		b.buf.WriteString("\r\n")
	}
	b.flush(0)
	return b.hash.Sum(nil)
}
