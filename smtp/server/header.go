package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// maxHeader bounds what is held in memory of a message.
const maxHeader = 256 << 10

var errHeaderTooLong = errors.New("header too long")

// header is the top of a message as far as it had to be read: the header, its
// empty line, and perhaps the beginning of the body.
type header struct {
	octets    []byte   // without any Return-Path field, ready to be written
	date, mid bool     // the field is there
	hops      int      // Received fields
	from      [][]byte // the values of the From fields with all their lines
	sender    [][]byte // the values of the Sender fields
}

// readHeader reads a message's header, and stops behind it. A message that has
// none, or that runs from its header into its text without an empty line, is
// given the empty line: otherwise fields added on top would swallow the text.
func readHeader(body lineReader, hold *headerHold) (header, error) {
	var h header
	dropping := false
	marked := strings.ToLower(policy.MarkHeader) // ours to write, too
	var folding *[]byte                          // the value that a folded line continues
	for {
		line, err := readLine(body, maxHeader-len(h.octets))
		if err != nil && !errors.Is(err, io.EOF) {
			return h, err
		}
		if err := hold.cover(len(h.octets) + len(line)); err != nil {
			return h, err
		}
		name, isField := smtp.FieldName(line)
		folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t') && (dropping || len(h.octets) > 0)
		switch {
		case len(line) == 0, string(line) == "\r\n":
			h.octets = append(h.octets, "\r\n"...)
			return h, nil
		case folded && dropping:
			continue
		case folded:
			if folding != nil {
				*folding = append(*folding, line...)
			}
		case !isField:
			h.octets = append(append(h.octets, "\r\n"...), line...)
			return h, nil
		default:
			// Return-Path is the final server's to write (RFC 5321 §4.4); one
			// that a client sends is somebody's invention.
			if dropping = name == "return-path" || name == marked; dropping {
				continue
			}
			folding = h.note(name, line)
		}
		h.octets = append(h.octets, line...)
	}
}

// note takes what is needed from a field, and returns where the value's folded
// lines belong.
func (h *header) note(name string, line []byte) *[]byte {
	_, value, _ := bytes.Cut(line, []byte(":"))
	switch name {
	case "date":
		h.date = true
	case "message-id":
		h.mid = true
	case "received":
		h.hops++
	case "from":
		h.from = append(h.from, bytes.Clone(value))
		return &h.from[len(h.from)-1]
	case "sender":
		h.sender = append(h.sender, bytes.Clone(value))
		return &h.sender[len(h.sender)-1]
	}
	return nil
}

// responsible is who the header says is responsible for the message: Sender, or
// From where there is no Sender (RFC 5322 §3.6.2). bad is a field that cannot be
// read or that is there twice: nobody can say which of two a mail program shows.
func (h *header) responsible() (field string, addresses []addr.Address, bad bool) {
	field, values := "Sender", h.sender
	if len(values) == 0 {
		field, values = "From", h.from
	}
	switch {
	case len(values) == 0:
		return "", nil, false
	case len(values) > 1, len(h.from) > 1:
		return field, nil, true
	}
	addresses, err := parseAddresses(string(values[0]))
	return field, addresses, err != nil
}

// parseAddresses reads the addresses in the value of a field. Only they count: names in any character set will do.
func parseAddresses(value string) (all []addr.Address, err error) {
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}}
	list, err := parser.ParseList(strings.ToValidUTF8(strings.ReplaceAll(value, "\r\n", ""), "?"))
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		a, err := addr.Parse(m.Address)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// lineReader gives lines, long ones in parts. *wire.Body is the one in use.
type lineReader interface{ Line() ([]byte, error) }

// readLine reads up to and with a CRLF. At the end of the message it returns
// io.EOF. The result is valid until the next call.
func readLine(r lineReader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.Line()
		if err == nil && line == nil && len(part) <= limit && bytes.HasSuffix(part, []byte("\r\n")) {
			return part, nil
		}
		if line = append(line, part...); err != nil {
			return line, err
		}
		if len(line) > limit {
			return nil, errHeaderTooLong
		}
		if bytes.HasSuffix(line, []byte("\r\n")) {
			return line, nil
		}
	}
}

// missing is what RFC 6409 §8 lets a submission server add.
func (h header) missing(id, hostname string, now time.Time) []byte {
	var b []byte
	if !h.date {
		b = fmt.Appendf(b, "Date: %s\r\n", now.Format(smtp.DateLayout))
	}
	if !h.mid {
		b = fmt.Appendf(b, "Message-ID: <%s@%s>\r\n", id, hostname)
	}
	return b
}

// traceHeader is Return-Path and Received (RFC 5321 §4.4). It names no software
// version. The recipient is named only where there is one: otherwise blind
// copies would show. name is what DNS said of the client, or "".
func traceHeader(info smtp.SessionInfo, env *smtp.Envelope, hostname, id, name string, now time.Time) []byte {
	b := []byte(smtp.ReturnPath(env.From))
	b = fmt.Appendf(b, "Received: from %s (%s%s)\r\n", info.Helo, name, literal(info))
	b = fmt.Appendf(b, "\tby %s with %s id %s", hostname, info.Protocol(env.UTF8), id)
	if info.TLS != nil {
		b = fmt.Appendf(b, "\r\n\t(%s %s)", tls.VersionName(info.TLS.Version), tls.CipherSuiteName(info.TLS.CipherSuite))
	}
	if !info.User.IsZero() {
		b = fmt.Appendf(b, "\r\n\t(authenticated as %s)", comment(info.User.String()))
	}
	if len(env.To) == 1 {
		b = fmt.Appendf(b, "\r\n\tfor <%s>", env.To[0].Address)
	}
	return fmt.Appendf(b, "; %s\r\n", now.Format(smtp.DateLayout))
}

// literal is the client's address as RFC 5321 §4.1.3 writes it.
func literal(info smtp.SessionInfo) string {
	ip := info.Remote.Addr().Unmap()
	if ip.Is6() {
		return "[IPv6:" + ip.WithZone("").String() + "]"
	}
	return "[" + ip.String() + "]"
}

// comment quotes what a comment may not hold bare (RFC 5322 §3.2.2).
func comment(s string) string {
	return strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`).Replace(s)
}
