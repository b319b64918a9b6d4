package pickup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/mailtext"
	"pillarbox/smtp"
)

const (
	maxHeader = 256 << 10 // octets of a header
)

// BadError is a defect of a message, described for its author.
type BadError struct{ Reason string }

func (e *BadError) Error() string { return e.Reason }

func badf(format string, args ...any) error { return &BadError{fmt.Sprintf(format, args...)} }

// Message is a message as a program left it. Its header no longer contains the fields that
// recipients must not see: Bcc, and those that hold the envelope.
type Message struct {
	fields    []field
	blind     []string  // values of Bcc
	resent    []string  // values of Resent-Bcc
	senders   []string  // values of X-Sender at the top
	receivers []string  // values of X-Receiver
	body      io.Reader // everything after the empty line
}

// field is one header field.
type field struct {
	name string // in lower case
	text []byte // the whole field with its line ends
}

// value returns the text after the colon, unfolded.
func (f field) value() string {
	_, value, _ := bytes.Cut(f.text, []byte(":"))
	return strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
}

// ReadFile reads the header of a message in a file. Reader later reads the rest of r. Errors are
// those of r, or a *BadError.
func ReadFile(r io.Reader) (*Message, error) { return read(r, true) }

// ReadInput reads the header of a message that a program passes to sendmail. No field belongs to
// the envelope, and the first line that is not a field starts the body.
func ReadInput(r io.Reader) (*Message, error) { return read(r, false) }

func read(r io.Reader, file bool) (*Message, error) {
	in := bufio.NewReaderSize(mailtext.NewReader(r), 4096)
	m := &Message{body: in}
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		in.Discard(3) // a byte order mark, which editors on Windows write before UTF-8
	}
	if mark, err := in.Peek(6); err == nil && strings.HasPrefix(strings.TrimPrefix(string(mark), ">"), "From ") {
		if _, err := readLine(in, maxHeader); err != nil { // the first line of an mbox file
			return nil, err
		}
	}
	size := 0
	var last *field
	for number := 1; ; number++ {
		line, err := readLine(in, maxHeader-size)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		size += len(line)
		name, isField := smtp.FieldName(line)
		switch {
		case len(line) == 0, string(line) == "\r\n":
			return m, m.sort(last, file)
		case (line[0] == ' ' || line[0] == '\t') && last != nil:
			last.text = append(last.text, line...)
			continue
		case !isField && file:
			return nil, badf("line %d is not a header field (%s); an empty line must separate the header from the text",
				number, excerpt(line))
		case !isField:
			m.body = io.MultiReader(bytes.NewReader(line), in)
			return m, m.sort(last, file)
		}
		if err := m.sort(last, file); err != nil {
			return nil, err
		}
		last = &field{name, line}
	}
}

// sort stores a complete field where it belongs.
func (m *Message) sort(f *field, file bool) error {
	if f == nil {
		return nil
	}
	if bytes.IndexByte(f.text, 0) >= 0 {
		return badf("the header field %q contains a NUL octet", f.name)
	}
	switch f.name {
	case "bcc":
		m.blind = append(m.blind, f.value())
	case "resent-bcc":
		m.resent = append(m.resent, f.value())
	case "return-path": // only the server writes it (RFC 5321 §4.4)
	case "x-sender", "x-receiver":
		if file {
			return m.envelopeField(f)
		}
		m.fields = append(m.fields, *f)
	default:
		m.fields = append(m.fields, *f)
	}
	return nil
}

// envelopeField takes an envelope line at the top of the file. An X-Sender further down comes from
// another program and is dropped.
func (m *Message) envelopeField(f *field) error {
	top := len(m.fields) == 0 && len(m.blind)+len(m.resent) == 0
	switch {
	case f.name == "x-receiver" && !top:
		return badf("X-Receiver lines must be at the very top of the file, above the header")
	case f.name == "x-receiver":
		m.receivers = append(m.receivers, f.value())
	case top:
		m.senders = append(m.senders, f.value())
	}
	return nil
}

// readLine reads one line with its CRLF, which package mailtext provides. At the end it returns io.EOF.
func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return nil, badf("the header is longer than %d KiB", maxHeader>>10)
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}

// excerpt quotes the beginning of a text.
func excerpt(text []byte) string {
	text = bytes.TrimRight(text, "\r\n")
	if len(text) > 40 {
		return fmt.Sprintf("%q…", text[:40])
	}
	return fmt.Sprintf("%q", text)
}

// Envelope returns the envelope: from the X-Sender and X-Receiver lines or, without them, from the
// header. domain completes names without one; "" completes none. maxHops limits the Received fields;
// 0 means no limit. Errors are *BadError.
func (m *Message) Envelope(domain addr.Domain, maxHops int) (*smtp.Envelope, error) {
	switch {
	case !m.Has("from"):
		return nil, badf("there is no From field; the header must name the author")
	case maxHops > 0 && m.count("received") > maxHops:
		return nil, badf("the message passed more than %d servers; it is probably in a mail loop",
			maxHops)
	}
	from, err := m.from(domain)
	if err != nil {
		return nil, err
	}
	to, err := m.to(domain)
	if err != nil {
		return nil, err
	}
	// The next hop's client converts 8-bit text if necessary.
	env := &smtp.Envelope{From: from, Body8: true, UTF8: !from.IsASCII()}
	for _, a := range to {
		env.To = append(env.To, smtp.Recipient{Address: a})
		env.UTF8 = env.UTF8 || !a.IsASCII()
	}
	return env, nil
}

func (m *Message) from(domain addr.Domain) (addr.Address, error) {
	switch len(m.senders) {
	case 0:
		return m.Sender(domain)
	case 1:
		if m.senders[0] == "<>" {
			return addr.Address{}, nil
		}
		return single("X-Sender", m.senders[0], domain)
	}
	return addr.Address{}, badf("there are %d X-Sender lines; a message has one sender",
		len(m.senders))
}

func (m *Message) to(domain addr.Domain) (to []addr.Address, err error) {
	for _, value := range m.receivers {
		a, err := single("X-Receiver", value, domain)
		if err != nil {
			return nil, err
		}
		to = append(to, a)
	}
	to = unique(to)
	if len(to) == 0 {
		to, err = m.Recipients(domain)
	}
	if err == nil && len(to) == 0 {
		err = badf("there is no recipient: no X-Receiver line at the top, " +
			"and no address in To, Cc or Bcc")
	}
	return to, err
}

// Sender returns the address that the header names as responsible: Sender, or else the first
// address of From (RFC 5322 §3.6.2).
func (m *Message) Sender(domain addr.Domain) (addr.Address, error) {
	for _, name := range []string{"Sender", "From"} {
		all, err := addresses(name, m.values(strings.ToLower(name)), domain)
		if err != nil {
			return addr.Address{}, err
		}
		if len(all) > 0 {
			return all[0], nil
		}
	}
	return addr.Address{}, badf("there is no address in the From field")
}

// Recipients returns the addresses in To, Cc and Bcc, without duplicates. For a resent message it
// returns those in Resent-To, Resent-Cc and Resent-Bcc (RFC 5322 §3.6.6).
func (m *Message) Recipients(domain addr.Domain) (to []addr.Address, err error) {
	prefix, blind := "", m.blind
	if m.Has("resent-to") || m.Has("resent-cc") || len(m.resent) > 0 {
		prefix, blind = "Resent-", m.resent
	}
	for _, list := range []struct {
		name   string
		values []string
	}{
		{"To", m.values(strings.ToLower(prefix + "to"))},
		{"Cc", m.values(strings.ToLower(prefix + "cc"))},
		{"Bcc", blind},
	} {
		found, err := addresses(prefix+list.name, list.values, domain)
		if err != nil {
			return nil, err
		}
		to = append(to, found...)
	}
	return unique(to), nil
}

func addresses(name string, values []string, domain addr.Domain) (all []addr.Address, err error) {
	for _, value := range values {
		found, err := mailboxes(value)
		if err != nil {
			return nil, badf("the %s field cannot be read: %v", name, err)
		}
		for _, m := range found {
			a, err := m.address(domain)
			if err != nil {
				return nil, badf("the %s field contains an invalid address: %v", name, err)
			}
			all = append(all, a)
		}
	}
	return all, nil
}

func single(name, value string, domain addr.Domain) (addr.Address, error) {
	all, err := addresses(name, []string{value}, domain)
	switch {
	case err != nil:
		return addr.Address{}, err
	case len(all) != 1:
		return addr.Address{}, badf("the line %s: %s must contain exactly one address", name,
			excerpt([]byte(value)))
	}
	return all[0], nil
}

// unique removes duplicates and keeps the first spelling.
func unique(all []addr.Address) []addr.Address {
	seen := make(map[addr.Address]bool, len(all))
	return slices.DeleteFunc(all, func(a addr.Address) bool {
		key := a.Fold()
		if seen[key] {
			return true
		}
		seen[key] = true
		return false
	})
}

// ParseList parses addresses as in a header field or on a command line. domain completes names
// without one.
func ParseList(list string, domain addr.Domain) ([]addr.Address, error) {
	found, err := mailboxes(list)
	if err != nil {
		return nil, err
	}
	var all []addr.Address
	for _, m := range found {
		a, err := m.address(domain)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// Has reports whether the header has a field. name is in lower case.
func (m *Message) Has(name string) bool { return m.count(name) > 0 }

func (m *Message) count(name string) int { return len(m.values(name)) }

func (m *Message) values(name string) (all []string) {
	for _, f := range m.fields {
		if f.name == name {
			all = append(all, f.value())
		}
	}
	return all
}

// Add adds a field at the end of the header. Line ends in value are removed.
func (m *Message) Add(name, value string) {
	value = strings.NewReplacer("\r", "", "\n", "").Replace(value)
	m.fields = append(m.fields, field{strings.ToLower(name), []byte(name + ": " + value + "\r\n")})
}

// Complete adds Date and Message-ID if they are missing (RFC 6409 §8.2, §8.3).
func (m *Message) Complete(id, hostname string, now time.Time) {
	if !m.Has("date") {
		m.Add("Date", now.Format(smtp.DateLayout))
	}
	if !m.Has("message-id") {
		m.Add("Message-ID", "<"+id+"@"+hostname+">")
	}
}

// Qualify completes names without a domain in address fields (RFC 6409 §8.1).
func (m *Message) Qualify(domain addr.Domain) {
	for i := range m.fields {
		f := &m.fields[i]
		switch f.name {
		case "from", "sender", "reply-to", "to", "cc":
			f.text = qualified(f.text, domain)
		}
	}
}

// qualified returns the completed text of a field. A field that does not parse stays as it is.
func qualified(text []byte, domain addr.Domain) []byte {
	name, value, _ := bytes.Cut(text, []byte(":"))
	found, err := mailboxes(string(value))
	if err != nil {
		return text
	}
	out := append(slices.Clone(name), ':')
	written := 0
	for _, m := range found {
		if m.bare() {
			out = append(append(out, value[written:m.end]...), "@"+string(domain)...)
			written = m.end
		}
	}
	return append(out, value[written:]...)
}

// Reader returns the message as CRLF text, header first. It can be read once.
func (m *Message) Reader() io.Reader {
	var header bytes.Buffer
	for _, f := range m.fields {
		header.Write(f.text)
	}
	header.WriteString("\r\n")
	return io.MultiReader(&header, m.body)
}
