package smtp

import (
	"bytes"
	"strings"

	"pillarbox/mailstore/addr"
)

// ReturnPath is the field that stands on top of every message that is stored (RFC 5321 §4.4), and that is not sent on.
func ReturnPath(from addr.Address) string { return "Return-Path: <" + from.String() + ">\r\n" }

// FieldName is the lower-case name of a header field (RFC 5322 §2.2), of the line that it begins in.
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
