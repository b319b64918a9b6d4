package pop3

import (
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestCommandsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		parse(text)
		parseNumber(text)
	}, mailtest.Values()...)
}
