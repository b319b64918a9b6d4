package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

// A reload begins and ends the logs of what clients say. A folder that cannot be made is said, and
// hinders no session.
func TestDialogueLogs(t *testing.T) {
	var log mailtest.Log
	d, file, text := serverForParts(t, &log)
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); d.stop() }()
	if err := d.start(ctx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	talk := func(helo string) {
		t.Helper()
		conn, err := net.Dial("tcp", d.Addresses()["smtp"][0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HELO %s\r\nAUTH PLAIN c2VjcmV0\r\nQUIT\r\n", helo)
		if got, err := io.ReadAll(conn); err != nil || !strings.Contains(string(got), "221 ") {
			t.Errorf("%q, %v", got, err)
		}
	}
	reload := func(more string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+more), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := d.Reload(); r.Error != "" || len(r.Restart) != 0 {
			t.Errorf("%+v", r)
		}
	}
	talk("before")
	both := fmt.Sprintf("log.w3c.directory = %q\nlog.w3c.fields = [\"cs-method\", \"sc-status\", \"cs-username\"]\n"+
		"log.protocol.directory = %q\nlog.protocol.clients = [\"127.0.0.0/8\"]\n", dir, filepath.Join(dir, "protocol"))
	reload(both)
	talk("between")
	reload(both + "smtp.max_errors = 7\n") // the logs go on
	talk("still")
	reload("")
	talk("after")
	w3c := contents(t, filepath.Join(dir, "SMTPSVC1", "ex*.log"))
	protocol := contents(t, filepath.Join(dir, "protocol", "protocol-*.log"))
	if want := "\nbetween HELO 250\nbetween AUTH 5"; !strings.Contains(w3c, want) || strings.Count(w3c, "#Fields: ") != 1 {
		t.Errorf("no %q in\n%s", want, w3c)
	}
	for _, want := range []string{" C: HELO between\n", " C: AUTH PLAIN [hidden]\n", " C: HELO still\n", ": closed, client 127.0.0.1:"} {
		if !strings.Contains(protocol, want) {
			t.Errorf("no %q in\n%s", want, protocol)
		}
	}
	for _, not := range []string{"before", "after", "c2VjcmV0"} {
		if strings.Contains(w3c+protocol, not) {
			t.Errorf("%q is in\n%s%s", not, w3c, protocol)
		}
	}

	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	reload(fmt.Sprintf("log.w3c.directory = %q\n", blocked))
	talk("blocked")
	reload("")
	if got := strings.Count(log.Take(), "the W3C log cannot be written; mail is not affected"); got != 1 {
		t.Errorf("said %d times", got)
	}
}

// contents returns the text of the files that match a pattern.
func contents(t *testing.T, pattern string) (all string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Errorf("%s: %q, %v", pattern, files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		all += string(text)
	}
	return all
}
