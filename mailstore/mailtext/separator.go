package mailtext

import (
	"bufio"
	"bytes"
	"io"
	"regexp"
)

// separator matches the line that begins a message in an mbox file:
// "From anna@b.example Mon Jan  5 10:00:00 2026".
var separator = regexp.MustCompile(`^>?From \S.* \d?\d:\d\d`)

// maxSeparator is the longest separator in octets.
const maxSeparator = 998

// IsSeparator reports whether a line is the separator of an mbox file. Programs that copy a message
// out of an mbox may leave it above the header, where it is not a field. A ">" before it means that
// it was quoted in another mbox.
func IsSeparator(line []byte) bool {
	return len(line) <= maxSeparator && separator.Match(line)
}

// WithoutSeparator returns the text of r without a separator in its first line.
func WithoutSeparator(r io.Reader) io.Reader {
	in := bufio.NewReaderSize(r, maxSeparator+1)
	start, _ := in.Peek(maxSeparator) // an error comes again with the next Read
	end := bytes.IndexAny(start, "\r\n")
	if end >= 0 && IsSeparator(start[:end]) {
		_, _ = in.Discard(end + lineEnd(start[end:])) // is buffered
	}
	return in
}

// lineEnd returns the length of the line end that text begins with.
func lineEnd(text []byte) int {
	crs := len(text) - len(bytes.TrimLeft(text, "\r"))
	if crs <= maxCRs && crs < len(text) && text[crs] == '\n' {
		return crs + 1
	}
	return 1 // a CR alone
}
