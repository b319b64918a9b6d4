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
	"pillarbox/smtp"
)

const (
	maxHeader = 256 << 10 // octets of a header
	maxHops   = 100       // Received fields (RFC 5321 §6.3)
)

// BadError says what is wrong with a message, in words for the person who wrote it.
type BadError struct{ Reason string }

func (e *BadError) Error() string { return e.Reason }

func badf(format string, args ...any) error { return &BadError{fmt.Sprintf(format, args...)} }

// Message is a message as a program left it. Fields that no reader may see are taken out of its header: Bcc, and those that
// hold the envelope.
type Message struct {
	fields    []field
	blind     []string  // the values of Bcc
	resent    []string  // and of Resent-Bcc
	senders   []string  // the values of X-Sender on top
	receivers []string  // and of X-Receiver
	body      io.Reader // what follows the empty line
}

// field is one field of a header.
type field struct {
	name string // in small letters
	text []byte // all of it, with its line ends
}

// value is what stands behind the colon, unfolded.
func (f field) value() string {
	_, value, _ := bytes.Cut(f.text, []byte(":"))
	return strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
}

// ReadFile reads the header of a message that was left as a file. The rest of r is read through Reader. Errors are those of
// r, or a *BadError.
func ReadFile(r io.Reader) (*Message, error) { return read(r, true) }

// ReadInput reads the header of a message that a program hands over, as sendmail does: no field is about the envelope, and
// the first line that is no field begins the text.
func ReadInput(r io.Reader) (*Message, error) { return read(r, false) }

func read(r io.Reader, file bool) (*Message, error) {
	in := bufio.NewReaderSize(newLineEnds(r), 4096)
	m := &Message{body: in}
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		in.Discard(3) // which editors on Windows put before UTF-8
	}
	if mark, err := in.Peek(5); err == nil && string(mark) == "From " {
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
			return nil, badf("line %d is no header field (%s); between the header and the text belongs an empty line", number, excerpt(line))
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

// sort puts a complete field where it belongs.
func (m *Message) sort(f *field, file bool) error {
	if f == nil {
		return nil
	}
	if bytes.IndexByte(f.text, 0) >= 0 {
		return badf("the header field %q holds a NUL octet", f.name)
	}
	switch f.name {
	case "bcc":
		m.blind = append(m.blind, f.value())
	case "resent-bcc":
		m.resent = append(m.resent, f.value())
	case "return-path": // the server's to write (RFC 5321 §4.4)
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

// envelopeField takes a line of the envelope. Further down, where other programs write X-Sender, it is none.
func (m *Message) envelopeField(f *field) error {
	top := len(m.fields) == 0 && len(m.blind)+len(m.resent) == 0
	switch {
	case f.name == "x-receiver" && !top:
		return badf("X-Receiver lines count only at the very top of the file, above the header")
	case f.name == "x-receiver":
		m.receivers = append(m.receivers, f.value())
	case top:
		m.senders = append(m.senders, f.value())
	}
	return nil
}

// readLine reads up to and with a CRLF, which newLineEnds has given every line. At the end it returns io.EOF.
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

// excerpt quotes the beginning of what somebody wrote.
func excerpt(text []byte) string {
	text = bytes.TrimRight(text, "\r\n")
	if len(text) > 40 {
		return fmt.Sprintf("%q…", text[:40])
	}
	return fmt.Sprintf("%q", text)
}

// Envelope is who sends the message to whom: by the X-Sender and X-Receiver lines, or where there are none by the header.
// domain completes names without one; "" does not. Errors are *BadError.
func (m *Message) Envelope(domain addr.Domain) (*smtp.Envelope, error) {
	switch {
	case !m.Has("from"):
		return nil, badf("there is no From field: a message says in its header who wrote it")
	case m.count("received") > maxHops:
		return nil, badf("the message went through more than %d servers; it seems to go in a circle", maxHops)
	}
	from, err := m.from(domain)
	if err != nil {
		return nil, err
	}
	to, err := m.to(domain)
	if err != nil {
		return nil, err
	}
	// Eight bits are converted, where that is needed, by who sends the message on.
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
	return addr.Address{}, badf("there are %d X-Sender lines; a message has one sender", len(m.senders))
}

func (m *Message) to(domain addr.Domain) (to []addr.Address, err error) {
	for _, value := range m.receivers {
		a, err := single("X-Receiver", value, domain)
		if err != nil {
			return nil, err
		}
		to = append(to, a)
	}
	to = once(to)
	if len(to) == 0 {
		to, err = m.Recipients(domain)
	}
	if err == nil && len(to) == 0 {
		err = badf("there is no recipient: neither an X-Receiver line at the top, nor an address in To, Cc or Bcc")
	}
	return to, err
}

// Sender is who the header says is responsible for the message: Sender, or else the first address of From (RFC 5322
// §3.6.2).
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

// Recipients are the addresses in To, Cc and Bcc, each once; where the message is sent anew, those of Resent-To, Resent-Cc
// and Resent-Bcc (RFC 5322 §3.6.6).
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
	return once(to), nil
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
				return nil, badf("the %s field holds an address that is none: %v", name, err)
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
		return addr.Address{}, badf("the line %s: %s does not hold one address", name, excerpt([]byte(value)))
	}
	return all[0], nil
}

// once leaves each address in once, the first as it is written.
func once(all []addr.Address) []addr.Address {
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

// ParseList reads addresses as they stand in a header field, or on a command line. domain completes names without one.
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

// Has reports whether the header has a field; its name is in small letters.
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

// Add puts a field at the end of the header. Line ends in the value are taken out.
func (m *Message) Add(name, value string) {
	value = strings.NewReplacer("\r", "", "\n", "").Replace(value)
	m.fields = append(m.fields, field{strings.ToLower(name), []byte(name + ": " + value + "\r\n")})
}

// Complete adds Date and Message-ID where they are missing (RFC 6409 §8.2, §8.3).
func (m *Message) Complete(id, hostname string, now time.Time) {
	if !m.Has("date") {
		m.Add("Date", now.Format(smtp.DateLayout))
	}
	if !m.Has("message-id") {
		m.Add("Message-ID", "<"+id+"@"+hostname+">")
	}
}

// Qualify completes names without a domain in the fields that hold addresses (RFC 6409 §8.1).
func (m *Message) Qualify(domain addr.Domain) {
	for i := range m.fields {
		f := &m.fields[i]
		switch f.name {
		case "from", "sender", "reply-to", "to", "cc":
			f.text = qualified(f.text, domain)
		}
	}
}

// qualified is the text of a field; what cannot be read stays as it is.
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

// Reader gives the message: CRLF text, the header first. It can be read once.
func (m *Message) Reader() io.Reader {
	var header bytes.Buffer
	for _, f := range m.fields {
		header.Write(f.text)
	}
	header.WriteString("\r\n")
	return io.MultiReader(&header, m.body)
}
