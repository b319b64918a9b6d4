package pop3

import (
	"bufio"
	"bytes"
	"io"

	"pillarbox/mailstore"
)

// The functions below write a message as a multi-line reply (RFC 1939 §3), without the final dot:
// a line that begins with a dot gets a second one, and the last line ends with CRLF. Lines may
// have any length.

const crlf = "\r\n"

// writeAsIs writes a message that has no line beginning with a dot. It looks only at the end.
func writeAsIs(w *bufio.Writer, message *mailstore.Content, size int64) error {
	if size == 0 {
		return nil
	}
	var end [len(crlf)]byte
	start := max(0, size-int64(len(end)))
	if err := message.CopyTo(w, start); err != nil {
		return err
	}
	n, err := io.ReadFull(message, end[:size-start])
	if err != nil {
		return err
	}
	if _, err := w.Write(end[:n]); err != nil {
		return err
	}
	return endLine(w, end)
}

// writeStuffed writes a message and doubles the dots. It searches for line ends followed by a dot
// instead of splitting lines.
func writeStuffed(w *bufio.Writer, r *bufio.Reader) error {
	end := [len(crlf)]byte{'\r', '\n'} // the last octets read
	for {
		_, err := r.Peek(1) // fills the buffer
		if err == io.EOF {
			return endLine(w, end)
		}
		if err != nil {
			return err
		}
		part, _ := r.Peek(r.Buffered())
		if end[1] == '\n' && part[0] == '.' {
			w.WriteByte('.')
		}
		end = lastTwo(end, part)
		rest := part
		for i := bytes.Index(rest, []byte("\n.")); i >= 0; i = bytes.Index(rest, []byte("\n.")) {
			w.Write(rest[:i+1])
			w.WriteByte('.')
			rest = rest[i+1:]
		}
		if _, err := w.Write(rest); err != nil {
			return err
		}
		r.Discard(len(part))
	}
}

// writeTop writes the header, the empty line and bodyLines lines of the body (RFC 1939 §7, TOP).
func writeTop(w *bufio.Writer, r *bufio.Reader, bodyLines int) error {
	end := [len(crlf)]byte{'\r', '\n'} // the last octets read
	for inBody := false; !inBody || bodyLines > 0; {
		atStart := end[1] == '\n'
		part, err := r.ReadSlice('\n') // a line, or as much of it as the buffer holds
		if atStart && len(part) > 0 && part[0] == '.' {
			w.WriteByte('.')
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		end = lastTwo(end, part)
		switch {
		case err == io.EOF:
			bodyLines, inBody = 0, true
		case err == bufio.ErrBufferFull:
		case err != nil:
			return err
		case inBody:
			bodyLines--
		case atStart:
			inBody = string(part) == crlf || string(part) == "\n"
		}
	}
	return endLine(w, end)
}

// lastTwo returns the last two octets of a text that ended with end and continued with part.
func lastTwo(end [len(crlf)]byte, part []byte) [len(crlf)]byte {
	for _, b := range part[max(0, len(part)-len(end)):] {
		end = [len(crlf)]byte{end[1], b}
	}
	return end
}

// endLine completes the last line with CRLF, unless it has one.
func endLine(w *bufio.Writer, end [len(crlf)]byte) error {
	if string(end[:]) == crlf {
		return nil
	}
	_, err := w.WriteString(crlf)
	return err
}
