package wire

import (
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
)

func TestCommandsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		parseCommand(text)
		parseCommand("MAIL " + text)
		domain := func(string) addr.Domain { return "office.example" }
		for _, arg := range []string{text, "FROM:" + text, "FROM:<" + text + ">", "FROM:<a@b.c> " + text, "FROM:<a@b.c> SIZE=" + text} {
			parsePath(arg, "FROM:", domain, "SIZE", "BODY")
		}
		if len(printable(text)) == 0 && text != "" {
			t.Error("nothing is left")
		}
	}, mailtest.Values()...)
}
