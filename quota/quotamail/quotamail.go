// Package quotamail writes the messages that tell people of a mailbox or a domain that has become too full. It is pure:
// facts go in, a message comes out.
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

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
)

//go:embed templates
var standard embed.FS

// suffix ends the name of a template's file.
const suffix = ".txt"

// Language is what notices are written in, as in RFC 5646.
type Language string

// The values of Language.
const (
	English Language = "en"
	German  Language = "de"
)

// kinds are the notices there are.
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

// Templates are the texts of all notices in one language. The zero value has none.
type Templates struct {
	language Language
	texts    map[string]string // by kind
}

// None says that there are no texts: notices are off.
func (t Templates) None() bool { return len(t.texts) == 0 }

// Load reads the templates of a language, and tries each. A file in dir, such as mailbox-warning.de.txt, takes the
// place of the one that is built in; "" is no directory. Each template is in the syntax of text/template: "Subject: …",
// an empty line, and the text. The fields are those of Fields.
//
// All that is wrong is reported, with file and line. A file whose name is that of no notice is an error: it would
// change nothing.
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

// tryOthers tries the files in the languages that are not in use: they may be tomorrow.
func tryOthers(dir string, but Language) (errs []error) {
	for _, language := range []Language{English, German} {
		if language == but {
			continue
		}
		t := Templates{language: language, texts: map[string]string{}}
		for _, kind := range kinds() {
			text, err := durable.ReadSmallFile(filepath.Join(dir, t.file(kind)), durable.MaxSmall)
			if err != nil {
				continue // not there, or told already
			}
			t.texts[kind] = string(text)
			errs = append(errs, t.try(kind))
		}
	}
	return errs
}

// Names are the files of all notices in all languages.
func Names() (names []string) {
	for _, language := range []Language{English, German} {
		for _, kind := range kinds() {
			names = append(names, Templates{language: language}.file(kind))
		}
	}
	return names
}

// Standard is the text that is built in, by its file's name; "" where there is no such notice.
func Standard(name string) string {
	text, _ := fs.ReadFile(standard, "templates/"+name) // it is not there
	return string(text)
}

func (t Templates) file(kind string) string { return kind + "." + string(t.language) + suffix }

// override puts the files of dir in the place of the texts.
func (t Templates) override(dir string) (errs []error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []error{err}
	}
	known := Names()
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && !slices.Contains(known, e.Name()) {
			errs = append(errs, fmt.Errorf("%s: no notice has this name; the names are %s", filepath.Join(dir, e.Name()), strings.Join(known, ", ")))
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

// try writes each notice once in every way that its facts may go.
func (t Templates) try(kind string) error {
	domain, what, _ := strings.Cut(kind, "-")
	for _, l := range []quota.Limits{
		{Bytes: 1000, Messages: 10}, {Bytes: 1000}, {Messages: 10}, {WarnBytes: 900},
	} {
		_, err := t.Compose(Facts{
			Event:    quota.Event{Kind: quota.Kind(what), Domain: domain == "domain", Resource: quota.Bytes, Limits: l, Used: quota.Usage{Bytes: 950, Messages: 9}, Asked: 60},
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

// Facts are what a notice is about, and what its header needs.
type Facts struct {
	Event    quota.Event
	About    string       // the mailbox's address, or the domain
	To       addr.Address // who is told
	Domain   addr.Domain  // whose postmaster it comes from
	Hostname addr.Domain
	Date     time.Time
	ID       string // what makes the Message-ID unique
}

// Fields are what templates may use: {{.About}}.
type Fields struct {
	About        string // the mailbox's address, or the domain
	Domain       string
	Hostname     string
	Used         string // what is held, as "430.1 MB"
	Limit        string // the limit, as "500MB"; "" for none
	Messages     string // how many are held
	MessageLimit string // "" for none
	Percent      int    // of the limit that is nearer; 0 without any
	Size         string // of the message that was refused, as "1.2 MB"
	ByMessages   bool   // it is the number of messages that counts, not their size
}

func (t Templates) fields(f Facts) Fields {
	like := f.Event.Limits.Bytes
	v := Fields{
		About: f.About, Domain: string(f.Domain), Hostname: string(f.Hostname),
		Used: t.size(f.Event.Used.Bytes, like), Messages: strconv.FormatInt(f.Event.Used.Messages, 10),
		Percent: f.Event.Limits.Percent(f.Event.Used), Size: t.size(f.Event.Asked, like),
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

// size writes "430.1 MB", with a comma where the language has one, and "500 MB" for a round number.
func (t Templates) size(bytes, like int64) string {
	text := strings.Replace(quota.Approximate(bytes, like), ".0 ", " ", 1)
	if t.language == German {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// Compose writes a notice: a message (RFC 5322) with CRLF at the end of each line, that asks nobody to answer it
// (RFC 3834, section 5). An error means that the template is wrong, which Load has ruled out for all usual facts.
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

// split parts the subject from the body.
func split(text string) (subject, body string, err error) {
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff") // Notepad's
	first, body, found := strings.Cut(text, "\n")
	subject, ok := strings.CutPrefix(first, "Subject:")
	rest, empty := strings.CutPrefix(body, "\n")
	subject, body = strings.TrimSpace(subject), strings.TrimRight(rest, "\n")
	switch {
	case !ok || !found || !empty || subject == "" || body == "":
		return "", "", errors.New(`a notice begins with a line "Subject: …" and an empty line, and then says something`)
	case !addr.IsText(subject) || strings.ContainsFunc(subject, isControl):
		return "", "", errors.New("the subject holds a control character, or is not UTF-8")
	case strings.ContainsFunc(body, func(r rune) bool { return isControl(r) && r != '\n' && r != '\t' }) || strings.ToValidUTF8(body, "") != body:
		return "", "", errors.New("the text holds a control character, or is not UTF-8")
	}
	return subject, body, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7F }

// message puts header and body together. A body of short ASCII lines goes as it is, any other as quoted-printable,
// which every mail program and every server in between can take.
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
		_, _ = w.Write([]byte(body)) // into memory
		_ = w.Close()
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// plain says that a text needs no encoding (RFC 5322, section 2.1.1).
func plain(body string) bool {
	for line := range strings.SplitSeq(body, "\n") {
		if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			return false
		}
	}
	return true
}
