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
	"pillarbox/mailstore/mailtext"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// maxHeader is the largest header in octets. The server holds no more of a message in memory.
const maxHeader = 256 << 10

var errHeaderTooLong = errors.New("header too long")

// header is the top of a message: the header, its empty line, and the first line of the body if
// the empty line was missing.
type header struct {
	octets []byte   // ready to be written; without Return-Path, MarkHeader and LabelHeader
	date   bool     // the header has Date
	id     []byte   // the value of Message-ID, with its folded lines; nil if there is none
	hops   int      // number of Received fields
	from   [][]byte // the values of the From fields, with their folded lines
	sender [][]byte // the values of the Sender fields
}

// readHeader reads the header of a message, up to and with its empty line. If the message has no
// header, or no empty line after it, readHeader adds the empty line: the body must not become part
// of a field that the server adds on top.
func readHeader(body lineReader, hold *headerHold) (header, error) {
	var h header
	dropping, first := false, true
	marked, label := strings.ToLower(policy.MarkHeader), strings.ToLower(smtp.LabelHeader)
	var folding *[]byte // the value that a folded line continues
	for {
		line, err := readLine(body, maxHeader-len(h.octets))
		if err != nil && !errors.Is(err, io.EOF) {
			return h, err
		}
		if err := hold.cover(len(h.octets) + len(line)); err != nil {
			return h, err
		}
		if first && mailtext.IsSeparator(line) {
			first = false
			continue
		}
		first = false
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
			// Only the final server writes Return-Path (RFC 5321 §4.4), and only this server
			// writes MarkHeader and LabelHeader. A client could forge them.
			if dropping = name == "return-path" || name == marked || name == label; dropping {
				continue
			}
			folding = h.collect(name, line)
		}
		h.octets = append(h.octets, line...)
	}
}

// collect stores what the session needs of a field. It returns the value that folded lines continue,
// or nil.
func (h *header) collect(name string, line []byte) *[]byte {
	_, value, _ := bytes.Cut(line, []byte(":"))
	switch name {
	case "date":
		h.date = true
	case "message-id":
		h.id = bytes.Clone(value)
		return &h.id
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

// responsible returns the addresses in Sender, or in From if there is no Sender: they are
// responsible for the message (RFC 5322 §3.6.2). bad means that the field cannot be parsed or
// occurs twice. Mail programs differ in which of two fields they show.
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

// parseAddresses reads the addresses in the value of a field. It accepts names in any character
// set, because only the addresses count.
func parseAddresses(value string) (all []addr.Address, err error) {
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}}
	value = strings.ToValidUTF8(strings.ReplaceAll(value, "\r\n", ""), "?")
	list, err := parser.ParseList(value)
	if err != nil {
		a, ok := onlyAddress(value)
		if !ok {
			return nil, err
		}
		return []addr.Address{a}, nil
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

// onlyAddress finds the address in a value that cannot be parsed. Devices and old programs write
// names such as "Alice [IT]", "Mueller, Alice" or "DOM\\alice" without quotes. The value is accepted
// if only one address occurs anywhere in it, so that no mail program can show another sender.
func onlyAddress(value string) (only addr.Address, ok bool) {
	if strings.Count(value, "<") != strings.Count(value, ">") {
		return addr.Address{}, false
	}
	words := strings.FieldsFunc(value, func(c rune) bool { return strings.ContainsRune(" \t<>()[],:;\"", c) })
	for _, word := range words {
		if !strings.Contains(word, "@") {
			continue
		}
		a, err := addr.Parse(word)
		if err != nil || ok && a.Fold() != only.Fold() {
			return addr.Address{}, false
		}
		only, ok = a, true
	}
	return only, ok
}

// loggedID returns the Message-ID for the log, by which an administrator finds a message that a user
// shows. It is cut short, because a client can send anything.
func (h *header) loggedID() string {
	const most = 250
	id := strings.Join(strings.Fields(string(h.id[:min(len(h.id), most)])), " ")
	return strings.ToValidUTF8(id, "?")
}

// lineReader returns lines, long ones in parts. *wire.Body implements it.
type lineReader interface{ Line() ([]byte, error) }

// readLine reads up to and with a CRLF. At the end of the message it returns io.EOF. The result is
// valid until the next call.
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

// missing returns the fields that a submission server adds (RFC 6409 §8).
func (h header) missing(id, hostname string, now time.Time) []byte {
	var b []byte
	if !h.date {
		b = fmt.Appendf(b, "Date: %s\r\n", now.Format(smtp.DateLayout))
	}
	if h.id == nil {
		b = fmt.Appendf(b, "Message-ID: <%s@%s>\r\n", id, hostname)
	}
	return b
}

// traceHeader returns Return-Path and Received (RFC 5321 §4.4). It names no software version.
func (s *session) traceHeader(id string, now time.Time) []byte {
	info, env := s.info(), &s.env
	b := []byte(smtp.ReturnPath(env.From))
	b = fmt.Appendf(b, "Received: from %s (%s%s)\r\n", info.Helo, s.clientName(), literal(info))
	b = fmt.Appendf(b, "\tby %s with %s id %s", s.cfg.Wire.Hostname, info.Protocol(env.UTF8), id)
	if info.TLS != nil {
		b = fmt.Appendf(b, "\r\n\t(%s %s)", tls.VersionName(info.TLS.Version), tls.CipherSuiteName(info.TLS.CipherSuite))
	}
	if !info.User.IsZero() {
		b = fmt.Appendf(b, "\r\n\t(authenticated as %s)", comment(info.User.String()))
	}
	b = appendFor(b, env.To, s.cfg.MaxFor)
	return fmt.Appendf(b, "; %s\r\n", now.Format(smtp.DateLayout))
}

// appendFor appends the recipients to a Received field, unless there are more than limit: a part of
// the list would mislead. More than one shows blind copies, so RFC 5321 §4.4 forbids it.
func appendFor(b []byte, to []smtp.Recipient, limit int) []byte {
	if len(to) == 0 || len(to) > limit {
		return b
	}
	for i, r := range to {
		word := ",\r\n\t"
		if i == 0 {
			word = "\r\n\tfor "
		}
		b = fmt.Appendf(b, "%s<%s>", word, r.Address)
	}
	return b
}

// literal is the client's address as an address literal (RFC 5321 §4.1.3).
func literal(info smtp.SessionInfo) string {
	ip := info.Remote.Addr().Unmap()
	if ip.Is6() {
		return "[IPv6:" + ip.WithZone("").String() + "]"
	}
	return "[" + ip.String() + "]"
}

// comment quotes the characters that a comment must not hold unquoted (RFC 5322 §3.2.2).
func comment(s string) string {
	return strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`).Replace(s)
}
