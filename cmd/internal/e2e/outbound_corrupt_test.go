//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutboundCorrupt damages files of the queue while the server is down. The server must move
// them to quarantine with a line in the log, and deliver the others. A message of a newer release
// stays unchanged until its state can be parsed.
func TestOutboundCorrupt(t *testing.T) {
	o, _ := sendingOffice(t)
	port := freePort(t)
	o.set(t, "outbound", "smart_host", `["[127.0.0.1]:`+port+`"]`)
	s := o.serve(t)
	names := []string{"good", "garbage", "empty", "no message", "no state", "later version", "good too"}
	ids := make(map[string]string)
	for _, name := range names {
		ids[name] = o.submit(t, letter(name), "bob@partner.example")
	}
	o.wantDeferred(t, ids["good"])
	s.stop(t)

	file := func(name, suffix string) string { return o.path("data", "queue", ids[name]+suffix) }
	o.write(t, filepath.Join("data", "queue", ids["garbage"]+".env"), "\x00\xFF{\"version\":1")
	o.write(t, filepath.Join("data", "queue", ids["empty"]+".env"), "")
	old := read(t, file("later version", ".env"))
	newer := strings.Replace(old, `"version":1`, `"version":99`, 1)
	o.write(t, filepath.Join("data", "queue", ids["later version"]+".env"), newer)
	for _, gone := range []string{file("no message", ".eml"), file("no state", ".env")} {
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
	}
	o.write(t, "data/queue/README", "nobody knows why this is here")

	k := newSink(t, port)
	s = o.serve(t)
	s.errors = []string{"put into queue/quarantine", "cannot read a message to send", "a newer release wrote the state"}
	o.pillarbox(t, "", "admin", "queue", "retry")
	for _, d := range k.wantDumps(t, 2) {
		if !strings.Contains(d.message, "\nthe end of good") {
			t.Errorf("arrived: %q", d.message)
		}
	}
	onlyNewer := func() {
		t.Helper()
		eventually(t, "the message of the newer release is left alone", func() bool { return len(o.queue(t)) == 0 && len(o.queueFiles(t)) == 2 })
	}
	onlyNewer()
	s.wantLog(t, ids["later version"])
	for _, name := range names[1 : len(names)-2] {
		aside, _ := filepath.Glob(o.path("data", "queue", "quarantine", ids[name]+".*"))
		if want := map[string]int{"no message": 1, "no state": 1}[name]; len(aside) != max(want, 2-want) {
			t.Errorf("%s: put aside are %v", name, aside)
		}
		if !strings.Contains(s.log.String(), ids[name]) {
			t.Errorf("%s: nothing in the log", name)
		}
	}
	after := o.submit(t, letter("afterwards"), "bob@partner.example")
	k.wantDumps(t, 3)
	onlyNewer()
	s.wantLog(t, after)
	s.stop(t)
	if got := read(t, file("later version", ".env")); got != newer {
		t.Errorf("the newer state became %s", got)
	}
	o.write(t, filepath.Join("data", "queue", ids["later version"]+".env"), old)
	o.serve(t)
	o.pillarbox(t, "", "admin", "queue", "retry")
	k.wantDumps(t, 4)
	o.wantQueueEmpty(t)
}
