package delivery

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"

	"pillarbox/mailstore/head"
	"pillarbox/mailstore/rules"
	"pillarbox/smtp"
)

// maxLabelled is the longest header, in octets, that label reads. Sessions accept no longer one.
const maxLabelled = 320 << 10

// label copies a stored message and adds the labels of rules: a field for each text, and a prefix
// before the subject.
func label(w io.Writer, r io.Reader, labels []rules.Label) error {
	in := bufio.NewReader(r)
	var header []byte
	for len(header) <= maxLabelled {
		line, err := in.ReadSlice('\n')
		header = append(header, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		if err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	if _, err := w.Write(labelled(header, labels)); err != nil {
		return err
	}
	_, err := io.Copy(w, in)
	return err
}

// labelled returns a header, with its empty line, with labels. Return-Path stays the first field.
func labelled(header []byte, labels []rules.Label) []byte {
	var prefixes []string
	var fields []byte
	for _, l := range labels {
		if l.Text != "" {
			fields = append(fields, smtp.LabelHeader+": "+l.Text+"\r\n"...)
		}
		if l.Prefix != "" {
			prefixes = append(prefixes, l.Prefix)
		}
	}
	out := make([]byte, 0, len(header)+len(fields)+1000)
	added, prefixed := false, len(prefixes) == 0
	for len(header) > 0 {
		end := head.FieldEnd(header)
		field := header[:end]
		header = header[end:]
		name, ok := smtp.FieldName(field)
		if !added && name != "return-path" {
			out, added = append(out, fields...), true
		}
		if !ok { // the end of the header, or what is no field
			if !prefixed {
				out, prefixed = append(append(out, "Subject:"...), withPrefixes([]byte("\r\n"), prefixes)...), true
			}
			return append(append(out, field...), header...)
		}
		if name == "subject" && !prefixed {
			colon := bytes.IndexByte(field, ':') + 1
			out, prefixed = append(out, field[:colon]...), true
			field = withPrefixes(field[colon:], prefixes)
		}
		out = append(out, field...)
	}
	return out
}

// withPrefixes returns the value of a Subject field after its prefixes, each once.
func withPrefixes(value []byte, prefixes []string) []byte {
	var out []byte
	for _, p := range prefixes {
		if encoded := encodedWord(p); !strings.Contains(string(value), encoded) {
			out = append(append(out, ' '), encoded...)
		}
	}
	if len(out) == 0 {
		return value
	}
	rest := bytes.TrimLeft(value, " \t")
	if len(bytes.TrimRight(rest, "\r\n")) == 0 {
		return append(out, "\r\n"...)
	}
	if len(out) > 60 {
		out = append(out, "\r\n"...)
	}
	return append(append(out, ' '), rest...)
}

func encodedWord(text string) string { return mime.QEncoding.Encode("utf-8", text) }
