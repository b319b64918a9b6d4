package web

import (
	"net/http"
	"strings"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"

	"pillarbox/quota"
)

// texts are the languages of the page. The English text is the key of the catalogue, so a text
// without a translation appears in English.
type texts struct {
	catalog catalog.Catalog
	matcher language.Matcher
	tags    []language.Tag
}

// counted returns the texts that differ for one.
func counted() []countedText {
	en, de := language.English, language.German
	return []countedText{
		{en, "%d messages", "%d message", "%d messages"},
		{de, "%d messages", "%d Nachricht", "%d Nachrichten"},
		{en, "%d messages wait.", "%d message waits.", "%d messages wait."},
		{de, "%d messages wait.", "%d Nachricht wartet.", "%d Nachrichten warten."},
		{en, "%d sessions", "%d session", "%d sessions"},
		{de, "%d sessions", "%d Sitzung", "%d Sitzungen"},
	}
}

type countedText struct {
	tag              language.Tag
	text, one, other string
}

func newTexts() texts {
	t := texts{tags: []language.Tag{language.English, language.German}}
	b := catalog.NewBuilder(catalog.Fallback(language.English))
	for english, translated := range german() {
		if err := b.SetString(language.German, english, translated); err != nil {
			panic(err) // a test would have found it
		}
	}
	for _, c := range counted() {
		if err := b.Set(c.tag, c.text, plural.Selectf(1, "%d", "=1", c.one, "other", c.other)); err != nil {
			panic(err) // a test would have found it
		}
	}
	t.catalog, t.matcher = b, language.NewMatcher(t.tags)
	return t
}

// of returns the words for a request: in the language that its user chose on the page, or the one
// that the browser asks for.
func (t *texts) of(r *http.Request) *words {
	wanted := []string{r.Header.Get("Accept-Language")}
	if c, err := r.Cookie(languageName); err == nil {
		wanted = append([]string{c.Value}, wanted...)
	}
	_, i := language.MatchStrings(t.matcher, wanted...)
	tag := t.tags[i]
	return &words{tag, message.NewPrinter(tag, message.Catalog(t.catalog))}
}

// words writes in one language.
type words struct {
	tag     language.Tag
	printer *message.Printer
}

// Language is the code of the language: "en".
func (w *words) Language() string { return w.tag.String() }

// T translates a text and fills it.
func (w *words) T(text string, args ...any) string { return w.printer.Sprintf(text, args...) }

// Number writes a whole number.
func (w *words) Number(n any) string { return w.printer.Sprintf("%d", n) }

// Time writes a moment in the server's time zone. A moment of today has no date.
func (w *words) Time(t time.Time) string {
	t = t.Local()
	form := "2006-01-02 15:04"
	if now := time.Now(); t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		form = "15:04:05"
	} else if w.tag == language.German {
		form = "02.01.2006 15:04"
	}
	return t.Format(form)
}

// Hour writes the begin of an hour.
func (w *words) Hour(t time.Time) string { return t.Local().Format("15:04") }

// Octets writes a size as a person says it.
func (w *words) Octets(n int64) string {
	text := quota.Approximate(n, 0)
	if w.tag == language.German {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// speak keeps the language that a user chose.
func (s *Site) speak(w http.ResponseWriter, r *http.Request) {
	setCookie(w, languageName, r.PostFormValue("language"))
	to := local(r.PostFormValue("next"))
	if to == "" {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
