package absence

import (
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/head"
)

// dateLayout is the format of dates in header fields (RFC 5322 §3.3).
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// maxReferences is the number of octets of References that are taken over.
const maxReferences = 2000

// Notice is an automatic answer to a message.
type Notice struct {
	From     addr.Address // the mailbox
	Name     string       // the full name of its user; "": none
	To       addr.Address
	Subject  string // "": "Auto: " and the subject of the message
	Text     string
	About    head.Head // the header of the message
	Date     time.Time
	ID       string // makes the Message-ID unique
	Hostname string
}

// Compose returns the notice as a message with CRLF line ends, without Return-Path. It has the fields
// of RFC 3834 §3.1, so that no program answers it.
func (n *Notice) Compose() []byte {
	var b strings.Builder
	from := "<" + n.From.String() + ">"
	if n.Name != "" {
		from = phrase(n.Name) + " " + from
	}
	field(&b, "From", from)
	field(&b, "To", "<"+n.To.String()+">")
	field(&b, "Subject", encode(n.subject()))
	field(&b, "Date", n.Date.Format(dateLayout))
	field(&b, "Message-ID", "<"+n.ID+"@"+n.Hostname+">")
	if id := messageID(n.About.Raw("message-id")); id != "" {
		field(&b, "In-Reply-To", id)
		field(&b, "References", references(n.About, id))
	}
	field(&b, "Auto-Submitted", "auto-replied")
	field(&b, "X-Auto-Response-Suppress", "All")
	field(&b, "MIME-Version", "1.0")
	field(&b, "Content-Type", "text/plain; charset=utf-8")
	field(&b, "Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	text := strings.ReplaceAll(strings.ReplaceAll(n.Text, "\r\n", "\n"), "\r", "\n")
	fmt.Fprint(w, strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\r\n")+"\r\n")
	w.Close() // to memory: no error
	return []byte(b.String())
}

// subject returns the subject of the notice (RFC 3834 §3.1.5).
func (n *Notice) subject() string {
	if n.Subject != "" {
		return n.Subject
	}
	about := n.About.Texts("subject")
	if len(about) == 0 {
		return "Auto:"
	}
	return "Auto: " + cut(clean(about[0]), 200)
}

// field writes a field. It folds at blanks, so that no line is longer than it must be.
func field(b *strings.Builder, name, value string) {
	const most = 76
	line := name + ":"
	for word := range strings.FieldsSeq(value) {
		if len(line)+1+len(word) > most && line != name+":" {
			b.WriteString(line + "\r\n")
			line = ""
		}
		line += " " + word
	}
	b.WriteString(line + "\r\n")
}

func encode(text string) string { return mime.QEncoding.Encode("utf-8", text) }

// phrase returns a name as it may stand before an address.
func phrase(name string) string {
	name = clean(name)
	if encoded := encode(name); encoded != name {
		return encoded
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// clean removes what must not stand in a field. The subject of a message is foreign text.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r >= 0x80 && r < 0xA0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// cut returns at most n octets of a valid text.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

// messageID returns the first message identifier in a value; "" if there is none that can be passed
// on.
func messageID(value string) string {
	start := strings.IndexByte(value, '<')
	if start < 0 {
		return ""
	}
	end := strings.IndexByte(value[start:], '>')
	if end < 0 || end > 500 {
		return ""
	}
	id := value[start : start+end+1]
	if strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return id
}

// references returns the identifiers of the thread, with the message's own last (RFC 5322 §3.6.4).
func references(about head.Head, id string) string {
	earlier := about.Raw("references")
	if earlier == "" {
		earlier = about.Raw("in-reply-to")
	}
	var all []string
	size := 0
	for word := range strings.FieldsSeq(earlier) {
		if size += len(word); size > maxReferences {
			break
		}
		if messageID(word) == word && word != id {
			all = append(all, word)
		}
	}
	return strings.Join(append(all, id), " ")
}
