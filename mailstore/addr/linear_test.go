package addr_test

import (
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
)

func TestLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		for _, s := range []string{text, text + "@y.example", "x@" + text} {
			a, _ := addr.Parse(s)
			a.Fold()
		}
		addr.ParseDomain(text)
		addr.ParseLocal(text)
		addr.FoldName(text)
		addr.CheckMailboxName(text)
		_ = addr.Address{Local: text, Domain: "y.example"}.String()
	}, mailtest.Values()...)
}
