package wire

import (
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestCommandsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		parseCommand(text)
		parseCommand("MAIL " + text)
		for _, arg := range []string{text, "FROM:" + text, "FROM:<" + text + ">", "FROM:<a@b.c> " + text, "FROM:<a@b.c> SIZE=" + text} {
			testConfig().parsePath(arg, "FROM:", "SIZE", "BODY")
		}
		if len(printable(text)) == 0 && text != "" {
			t.Error("nothing is left")
		}
	}, mailtest.Values()...)
}
