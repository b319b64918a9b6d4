package mailtest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

func TestParseDialogue(t *testing.T) {
	d, err := parseDialogue("x.dialog", strings.Join([]string{
		"# a comment",
		"%mailbox anna a b",
		"%mailbox boss c",
		"S: +OK *",
		"C: PASS  two spaces ",
		`C: AUTH PLAIN base64("\x00anna\x00a b")`,
		`C: repeat("ab", 3)`,
		"C64: Username:",
		`2CRAW: "a\r\nb"`,
		"C:",
		"S*: .",
		"2TLS",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Options["mailbox"]; len(got) != 2 || got[0] != "anna a b" || d.Option("mailbox", "") != "boss c" {
		t.Errorf("options: %q", got)
	}
	if got := d.Option("listener", "plain"); got != "plain" {
		t.Errorf("default of an option: %q", got)
	}
	want := []step{
		{4, "1", "S", "+OK *"},
		{5, "1", "C", "PASS  two spaces \r\n"},
		{6, "1", "C", "AUTH PLAIN AGFubmEAYSBi\r\n"},
		{7, "1", "C", "ababab\r\n"},
		{8, "1", "C64", "VXNlcm5hbWU6\r\n"},
		{9, "2", "CRAW", "a\r\nb"},
		{10, "1", "C", "\r\n"},
		{11, "1", "S*", "."},
		{12, "2", "TLS", ""},
	}
	if len(d.steps) != len(want) {
		t.Fatalf("%d steps, want %d: %v", len(d.steps), len(want), d.steps)
	}
	for i, s := range d.steps {
		if s != want[i] {
			t.Errorf("step %d: %v, want %v", i, s, want[i])
		}
	}
}

func TestParseDialogueErrors(t *testing.T) {
	for _, text := range []string{"X: y", "C USER", "TLS now", "CRAW: plain", "0C: x", "S:x"} {
		if _, err := parseDialogue("x.dialog", "\n"+text); err == nil || !strings.Contains(err.Error(), "x.dialog:2:") {
			t.Errorf("%q: error %v does not name the line", text, err)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, line string
		want          bool
	}{
		{"+OK", "+OK", true},
		{"+OK", "+OK ", false},
		{"+OK*", "+OK ready", true},
		{"*mid*", "a mid b", true},
		{"a.c", "abc", false},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{`\\`, `\`, true},
		{`C:\x`, `C:\x`, true},
		{"caf\u00e9*", "caf\u00e9!", true},
		{"*\xff", "a\xff", true},
		{"", "", true},
	} {
		if got := matches(c.pattern, c.line); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.pattern, c.line, got)
		}
	}
}

// A dialogue must fail if the peer's reply is wrong.
func TestRunReports(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"good", "S: hello\nC: a\nS: you said a\nCLOSE", ""},
		{"skips", "S: hello\nC: twice\nS*: again\nC: a\nS: you said a", ""},
		{"skips all", "S: hello\nC: quit\nS*: again", "EOF"},
		{"wrong line", "S: bye", `x.dialog:1: expected "bye", got "hello\r\n"`},
		{"transcript", "S: hello\nC: a\nS: no", "1C: \"a\\r\\n\""},
		{"eof", "S: hello\nC: quit\nS: <eof>", ""},
		{"early eof", "S: hello\nC: quit\nS: more", "EOF"},
		{"no eof", "S: <eof>", "end of the connection"},
		{"bare LF", "S: hello\nC: lf\nS: lf", "expected"},
		{"rest", "S: hello\nC: twice\nS: twice", "also said"},
		{"two", "S: hello\n2S: hello\n2C: a\nC: b\nS: you said b\n2S: you said a", ""},
	} {
		d, err := parseDialogue("x.dialog", c.text)
		if err != nil {
			t.Fatal(err)
		}
		err = d.run(Peer{Dial: dialEcho})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q in it", c.name, err, c.want)
		}
	}
	if err := (&Dialogue{steps: []step{{conn: "1", verb: "S"}}}).run(Peer{
		Dial: func() (net.Conn, error) { return nil, errors.New("refused") },
	}); err == nil {
		t.Error("no error when nothing listens")
	}
}

func dialEcho() (net.Conn, error) {
	client, server := net.Pipe()
	go echo(server)
	return client, nil
}

func echo(c net.Conn) {
	defer c.Close()
	out := bufio.NewWriter(c)
	in := bufio.NewScanner(c)
	io.WriteString(out, "hello\r\n")
	out.Flush()
	for in.Scan() {
		switch line := in.Text(); line {
		case "quit":
			return
		case "lf":
			io.WriteString(out, "lf\n")
			out.Flush()
			return
		case "twice":
			io.WriteString(out, "twice\r\nagain\r\n")
		default:
			io.WriteString(out, "you said "+line+"\r\n")
		}
		out.Flush()
	}
}
