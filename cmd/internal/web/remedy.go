package web

import (
	"regexp"
	"strings"
)

// remedyPart is a part of a text that says what to do.
type remedyPart struct {
	Text    string
	Command bool // to type
}

var (
	quotedCommand = regexp.MustCompile(`'((?:sudo |pillarbox |systemctl )[^']+)'`)
	wholeCommand  = regexp.MustCompile(`^(sudo|pillarbox|systemctl|chown|chmod) `)
)

// remedyParts finds the commands in a remedy: those in quotes, or all of it.
func remedyParts(text string) (parts []remedyPart) {
	if wholeCommand.MatchString(text) && !strings.Contains(text, "'") {
		return []remedyPart{{text, true}}
	}
	for text != "" {
		at := quotedCommand.FindStringSubmatchIndex(text)
		if at == nil {
			return append(parts, remedyPart{Text: text})
		}
		if at[0] > 0 {
			parts = append(parts, remedyPart{Text: text[:at[0]]})
		}
		parts = append(parts, remedyPart{text[at[2]:at[3]], true})
		text = text[at[1]:]
	}
	return parts
}

// mending is a page on which what a check of the doctor has found can be mended.
type mending struct{ Path, Title string }

// mendingOf returns the page for the findings of a check; zero if there is none.
func mendingOf(check string) mending {
	kind, _, _ := strings.Cut(check, "-")
	return map[string]mending{
		"certificate": {"/certificates", "Certificates"}, "legacy": {"/certificates", "Certificates"},
		"dns": {"/dns", "DNS records"}, "queue": {"/queue", "Queue"},
		"quarantine": {"/stray", "Quarantine and badmail"}, "quota": {"/mailboxes", "Mailboxes"},
		"settings": {"/settings", "Settings"},
	}[kind]
}
