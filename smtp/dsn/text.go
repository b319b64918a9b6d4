package dsn

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// phrases are the phrases of the text part in one language. Comments name the value for %s.
type phrases struct {
	from    string // ASCII, because it is in a header field
	subject map[Action]string
	intro   string // the host
	about   string // label of the original's subject
	sent    string // label of its date
	group   map[Action]string
	goesOn  string // a time
	waiting string // used instead of goesOn without a time
	resend  string

	wroteTo  string // an address
	gaveUp   string
	said     string // a server
	weSay    string
	ourWords bool // this server's replies are in this language
	reason   string
	todo     string
	details  string
	returned string
	headers  string
	dateForm string
	hints    map[trouble]hint
}

func phrasesIn(language Language) phrases {
	if language == German {
		return german()
	}
	return english()
}

// text returns the text part, with "\n" line ends.
func (r *Report) text(l layout) string {
	p := l.phrases
	t := &page{}
	t.paragraph(0, fmt.Sprintf(p.intro, r.host()))
	t.blank()
	if l.original.subject != "" {
		t.lines(4, p.about+" "+l.original.subject)
	}
	if !r.Arrived.IsZero() {
		t.lines(4, p.sent+" "+p.date(r.Arrived))
	}
	for _, action := range actions() {
		r.group(t, p, action)
	}
	t.blank()
	switch {
	case l.original.whole:
		t.lines(0, p.details+" "+p.returned)
	case l.original.present:
		t.lines(0, p.details+" "+p.headers)
	default:
		t.lines(0, p.details)
	}
	return t.String()
}

func (p phrases) date(t time.Time) string { return t.Format(p.dateForm) }

// group writes about all recipients with the same action.
func (r *Report) group(t *page, p phrases, action Action) {
	first := true
	for _, rcpt := range r.Recipients {
		if rcpt.action() != action {
			continue
		}
		if first {
			t.paragraph(0, p.group[action])
			first = false
		}
		rcpt.tell(t, p)
	}
	if first || action != Delayed {
		return
	}
	if r.RetryUntil.IsZero() {
		t.paragraph(0, p.waiting)
	} else {
		t.paragraph(0, fmt.Sprintf(p.goesOn, p.date(r.RetryUntil)))
	}
	t.lines(0, p.resend)
}

func (rcpt Recipient) tell(t *page, p phrases) {
	t.blank()
	final := addressText(rcpt.Final.String())
	t.verbatim(4, final)
	if original := addressText(rcpt.ORcpt); original != "" && !strings.EqualFold(original, final) {
		t.lines(8, fmt.Sprintf(p.wroteTo, original))
	}
	action, status := rcpt.action(), rcpt.status()
	if action != Failed && action != Delayed {
		return
	}
	if action == Failed && status[0] == 4 {
		t.lines(8, p.gaveUp)
	}
	h := p.hints[troubleOf(status)]
	if h.meaning != "" {
		t.lines(8, p.reason+" "+h.meaning)
	}
	server := hostText(rcpt.Result.MTA)
	words := words(rcpt.Result.Reply)
	if words != "" && (server != "" || p.ourWords || h.meaning == "") {
		label := p.weSay
		if server != "" {
			label = fmt.Sprintf(p.said, server)
		}
		t.lines(8, label+" "+words)
	}
	if action == Failed && h.advice != "" {
		t.lines(8, p.todo+" "+h.advice)
	}
}

// page is text in lines of up to 72 columns; longer words are not split.
type page struct{ strings.Builder }

func (t *page) blank() { t.WriteByte('\n') }

func (t *page) paragraph(indent int, text string) {
	if t.Len() > 0 {
		t.blank()
	}
	t.lines(indent, text)
}

func (t *page) verbatim(indent int, text string) {
	t.WriteString(strings.Repeat(" ", indent) + text + "\n")
}

// lines writes wrapped text. If the text is indented, further lines are indented by two more
// columns, so that untrusted text cannot pass for the report's own.
func (t *page) lines(indent int, text string) {
	margin := strings.Repeat(" ", indent)
	line := margin
	for _, word := range strings.Fields(text) {
		switch {
		case line == margin:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > 72:
			t.WriteString(line + "\n")
			if indent > 0 {
				margin = strings.Repeat(" ", indent+2)
			}
			line = margin + word
		default:
			line += " " + word
		}
	}
	t.WriteString(line + "\n")
}
