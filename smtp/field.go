package smtp

import (
	"bytes"
	"strings"

	"pillarbox/mailstore/addr"
)

// ReturnPath returns the header field that comes first in every stored message (RFC 5321 §4.4). It
// is not sent on to other servers.
func ReturnPath(from addr.Address) string { return "Return-Path: <" + from.String() + ">\r\n" }

// LabelHeader is the field that a rule of a mailbox adds to a message. Only this server writes it.
const LabelHeader = "X-Pillarbox-Label"

// FieldName returns the name of the header field that starts in this line, in lower case (RFC 5322
// §2.2). It reports false if the line starts no field.
func FieldName(line []byte) (string, bool) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return "", false
	}
	name := bytes.TrimRight(line[:i], " \t") // obs-optional, RFC 5322 §4.5
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
	}
	return strings.ToLower(string(name)), len(name) > 0
}
