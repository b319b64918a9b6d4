package wire

import (
	"testing"

	"pillarbox/mailstore/dialogue"
)

// shownText is what a log shows of a line.
func shownText(l dialogue.Shown) string { return l.Verb + "|" + l.Arg + "|" + l.Note }

func TestShownLine(t *testing.T) {
	const nothing = "||[no command, hidden]"
	for line, want := range map[string]string{
		"MAIL FROM:<a@b> SIZE=5":      "MAIL|FROM:<a@b> SIZE=5|",
		"mail from: <a@b>":            "MAIL|from: <a@b>|",
		"MAIL your secret":            "MAIL||[hidden]",
		"RCPT TO:<a@b>":               "RCPT|TO:<a@b>|",
		"RCPT FROM:<a@b>":             "RCPT||[hidden]",
		"EHLO pc7":                    "EHLO|pc7|",
		"HELO pc7 and more":           "HELO|pc7|",
		"DATA":                        "DATA||",
		"Data shows a secret":         "DATA||[hidden]",
		"help me with my secret":      "HELP||[hidden]",
		"QUIT":                        "QUIT||",
		"VRFY anna":                   "VRFY|anna|",
		"verify":                      nothing,
		"VRFY my secret":              "VRFY||[hidden]",
		"BDAT 12 LAST":                "BDAT|12 LAST|",
		"BDAT secret":                 "BDAT||[hidden]",
		"AUTH PLAIN":                  "AUTH|PLAIN|",
		"AUTH PLAIN AGFubmEAc2VjcmV0": "AUTH|PLAIN|[hidden]",
		"auth plain  AGFubmEAc2Vj":    "AUTH|PLAIN|[hidden]",
		"AUTH  AGFubmEAc2VjcmV0":      "AUTH||[hidden]",
		"AUTH SECRET":                 "AUTH||[hidden]",
		"AUTH\tPLAIN\tAGFubmEAc2Vj":   nothing,
		"AUTHPLAIN AGFubmEAc2Vj":      nothing,
		"AGFubmEAc2VjcmV0":            nothing,
		" AUTH PLAIN AGFubmEAc2Vj":    nothing,
		"AUTH PLAIN AGFu\x01":         nothing,
		"PASS secret":                 nothing,
		"GET /secret HTTP/1.1":        nothing,
		"":                            nothing,
	} {
		if got := shownText(shownLine(line)); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}
