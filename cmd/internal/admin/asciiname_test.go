package admin

import (
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
)

func TestASCIINote(t *testing.T) {
	for local, want := range map[string]string{
		"anna": "", "jürgen": "use juergen@", "u\u0308berweiß": "use ueberweiss@", "JOSÉ": "use jose@",
		"иван": "use a name of ASCII letters",
	} {
		note := ASCIINote(addr.Address{Local: local, Domain: "office.example"})
		if (note == "") != (want == "") || !strings.Contains(note, want) {
			t.Errorf("%s: %q, want %q", local, note, want)
		}
	}
}
