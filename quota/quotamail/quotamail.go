// Package quotamail writes the messages that are sent when a mailbox or a domain has become too
// full.
//
// Start with [Load], which reads the [Templates] of a language, and [Templates.Compose], which
// turns [Facts] into a message. The configuration loads the templates; package admin sends the
// messages. Compose is pure: it reads no file and no clock.
package quotamail

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
)

//go:embed templates
var standard embed.FS

// suffix ends the name of a template file.
const suffix = ".txt"

// Language is the language of the messages, as a tag of RFC 5646.
type Language string

// The values of Language.
const (
	English Language = "en"
	German  Language = "de"
)

// kinds lists the kinds of messages.
func kinds() []string {
	return []string{"mailbox-warning", "mailbox-full", "domain-warning", "domain-full"}
}

func (f Facts) kind() string {
	whose := "mailbox"
	if f.Event.Domain {
		whose = "domain"
	}
	return whose + "-" + string(f.Event.Kind)
}

// Templates are the texts of all messages in one language. The zero value has none.
type Templates struct {
	language Language
	texts    map[string]string // by kind
}

// None reports whether there are no texts, which means that no messages are sent.
func (t Templates) None() bool { return len(t.texts) == 0 }

// Load reads the templates of a language and tries each. A file in dir, such as
// mailbox-warning.de.txt, replaces the built-in template; dir may be "". A template has the syntax
// of text/template and consists of "Subject: …", an empty line and the text. It may use the fields
// of Fields.
//
// Load reports all mistakes, with file and line. A file whose name no message has is an error,
// since it would have no effect.
func Load(dir string, language Language) (Templates, error) {
	t := Templates{language: language, texts: map[string]string{}}
	var errs []error
	for _, kind := range kinds() {
		if t.texts[kind] = Standard(t.file(kind)); t.texts[kind] == "" {
			return Templates{}, fmt.Errorf("notices: no language %q", language)
		}
	}
	if dir != "" {
		errs = t.override(dir)
	}
	for _, kind := range kinds() {
		errs = append(errs, t.try(kind))
	}
	if dir != "" {
		errs = append(errs, tryOthers(dir, language)...)
	}
	if err := errors.Join(errs...); err != nil {
		return Templates{}, err
	}
	return t, nil
}

// tryOthers tries the templates in the languages not in use, since the administrator may choose one
// later.
func tryOthers(dir string, but Language) (errs []error) {
	for _, language := range []Language{English, German} {
		if language == but {
			continue
		}
		t := Templates{language: language, texts: map[string]string{}}
		for _, kind := range kinds() {
			text, err := durable.ReadSmallFile(filepath.Join(dir, t.file(kind)), durable.MaxSmall)
			if err != nil {
				continue // missing, or reported already
			}
			t.texts[kind] = string(text)
			errs = append(errs, t.try(kind))
		}
	}
	return errs
}

// Names returns the file names of all templates, in all languages.
func Names() (names []string) {
	for _, language := range []Language{English, German} {
		for _, kind := range kinds() {
			names = append(names, Templates{language: language}.file(kind))
		}
	}
	return names
}

// Standard returns the built-in template with this file name, or "".
func Standard(name string) string {
	text, _ := fs.ReadFile(standard, "templates/"+name)
	return string(text)
}

func (t Templates) file(kind string) string { return kind + "." + string(t.language) + suffix }

// override replaces built-in texts by the files in dir.
func (t Templates) override(dir string) (errs []error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []error{err}
	}
	known := Names()
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && !slices.Contains(known, e.Name()) {
			errs = append(errs, fmt.Errorf("%s: no notice has this name; the names are %s",
				filepath.Join(dir, e.Name()), strings.Join(known, ", ")))
		}
	}
	for _, kind := range kinds() {
		text, err := durable.ReadSmallFile(filepath.Join(dir, t.file(kind)), durable.MaxSmall)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		default:
			t.texts[kind] = string(text)
		}
	}
	return errs
}

// try composes a message with each combination of limits that a template may branch on.
func (t Templates) try(kind string) error {
	domain, what, _ := strings.Cut(kind, "-")
	for _, l := range []quota.Limits{
		{Bytes: 1000, Messages: 10}, {Bytes: 1000}, {Messages: 10}, {WarnBytes: 900},
	} {
		_, err := t.Compose(Facts{
			Event: quota.Event{
				Kind: quota.Kind(what), Domain: domain == "domain", Resource: quota.Bytes,
				Limits: l, Used: quota.Usage{Bytes: 950, Messages: 9}, Asked: 60,
			},
			About:    "anna@office.example",
			To:       addr.Address{Local: "anna", Domain: "office.example"},
			Domain:   "office.example",
			Hostname: "mail.office.example",
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Facts are the event that a message reports, and the values for its header.
type Facts struct {
	Event    quota.Event
	About    string       // the mailbox's address, or the domain
	To       addr.Address // the recipient
	Domain   addr.Domain  // the message is from this domain's postmaster
	Hostname addr.Domain
	Date     time.Time
	ID       string // makes the Message-ID unique
}

// Fields are the values that a template may use, for example {{.About}}.
type Fields struct {
	About        string // the mailbox's address, or the domain
	Domain       string
	Hostname     string
	Used         string // size of the stored mail, such as "430.1 MB"
	Limit        string // such as "500 MB"; "" without a limit
	Messages     string // number of stored messages
	MessageLimit string // "" without a limit
	Percent      int    // used of the nearer limit; 0 without limits
	Size         string // of the refused message, such as "1.2 MB"
	ByMessages   bool   // the limit on the number of messages is reached, not that on the size
}

func (t Templates) fields(f Facts) Fields {
	like := f.Event.Limits.Bytes
	v := Fields{
		About: f.About, Domain: string(f.Domain), Hostname: string(f.Hostname),
		Used:     t.size(f.Event.Used.Bytes, like),
		Messages: strconv.FormatInt(f.Event.Used.Messages, 10),
		Percent:  f.Event.Limits.Percent(f.Event.Used), Size: t.size(f.Event.Asked, like),
		ByMessages: f.Event.Resource == quota.Messages,
	}
	if like > 0 {
		v.Limit = t.size(like, like)
	}
	if n := f.Event.Limits.Messages; n > 0 {
		v.MessageLimit = strconv.FormatInt(n, 10)
	}
	return v
}

// size writes "430.1 MB", or "430,1 MB" in German, and "500 MB" for a round number.
func (t Templates) size(bytes, like int64) string {
	text := strings.Replace(quota.Approximate(bytes, like), ".0 ", " ", 1)
	if t.language == German {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// Compose writes a message (RFC 5322) with CRLF line ends. It is marked as automatic, so that
// programs do not answer it (RFC 3834 §5). An error means that a template is wrong; Load has ruled
// that out for all usual facts.
func (t Templates) Compose(f Facts) ([]byte, error) {
	name := t.file(f.kind())
	text, ok := t.texts[f.kind()]
	if !ok {
		return nil, fmt.Errorf("notices: no text %s", name)
	}
	tmpl, err := template.New(name).Parse(text)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	if err := tmpl.Execute(&out, t.fields(f)); err != nil {
		return nil, err
	}
	subject, body, err := split(out.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return message(f, subject, body), nil
}

// split separates the subject from the body.
func split(text string) (subject, body string, err error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.TrimPrefix(text, "\ufeff") // Windows Notepad writes a byte order mark
	first, body, found := strings.Cut(text, "\n")
	subject, ok := strings.CutPrefix(first, "Subject:")
	rest, empty := strings.CutPrefix(body, "\n")
	subject, body = strings.TrimSpace(subject), strings.TrimRight(rest, "\n")
	switch {
	case !ok || !found || !empty || subject == "" || body == "":
		return "", "", errors.New(
			`a notice begins with a line "Subject: …" and an empty line, followed by text`)
	case !addr.IsText(subject) || strings.ContainsFunc(subject, isControl):
		return "", "", errors.New("the subject contains a control character, or is not UTF-8")
	case strings.ContainsFunc(body, isControlInText) || !utf8.ValidString(body):
		return "", "", errors.New("the text contains a control character, or is not UTF-8")
	}
	return subject, body, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7F }

func isControlInText(r rune) bool { return isControl(r) && r != '\n' && r != '\t' }

// message assembles header and body. A body of short ASCII lines is sent as it is; any other is
// encoded as quoted-printable, which every mail program and server accepts.
func message(f Facts, subject, body string) []byte {
	encoding, charset := "7bit", "us-ascii"
	if !plain(body) {
		encoding, charset = "quoted-printable", "utf-8"
	}
	var b strings.Builder
	for _, line := range []string{
		"Return-Path: <>",
		"From: Mail server <" + addr.Address{Local: "postmaster", Domain: f.Domain}.String() + ">",
		"To: <" + f.To.String() + ">",
		"Subject: " + mime.QEncoding.Encode("utf-8", subject),
		"Date: " + f.Date.Format(time.RFC1123Z),
		"Message-ID: <" + f.ID + "@" + string(f.Hostname) + ">",
		"Auto-Submitted: auto-generated",
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=" + charset,
		"Content-Transfer-Encoding: " + encoding,
		"",
	} {
		b.WriteString(line + "\r\n")
	}
	if encoding == "7bit" {
		b.WriteString(strings.ReplaceAll(body, "\n", "\r\n"))
	} else {
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write([]byte(body)) // to memory: no error
		_ = w.Close()
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// plain reports whether a text needs no encoding (RFC 5322 §2.1.1).
func plain(body string) bool {
	for line := range strings.SplitSeq(body, "\n") {
		if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			return false
		}
	}
	return true
}
