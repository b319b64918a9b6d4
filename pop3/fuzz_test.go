package pop3

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/auth"
)

// script is a connection whose client sends everything at once and disconnects.
type script struct {
	io.Reader
	bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.Reader.Read(p) }
func (*script) Close() error                       { return nil }
func (*script) LocalAddr() net.Addr                { return remote }
func (*script) RemoteAddr() net.Addr               { return remote }
func (*script) SetDeadline(time.Time) error        { return nil }
func (*script) SetReadDeadline(time.Time) error    { return nil }
func (*script) SetWriteDeadline(t time.Time) error { return nil }

// FuzzSession checks for any input that the server does not panic, that every line of its replies
// has the form of RFC 1939, and that the mailbox loses exactly the messages that were marked when
// QUIT was confirmed.
func FuzzSession(f *testing.F) {
	const login = "USER anna\r\nPASS secret\r\n"
	for _, seed := range []string{
		"CAPA\r\nAUTH\r\nUTF8\r\nNOOP\r\nSTAT\r\nQUIT\r\n",
		login + "STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 2 1\r\nDELE 1\r\nQUIT\r\n",
		login + "DELE 1\r\nDELE 3\r\nRSET\r\nDELE 2\r\nLIST 1\r\nUIDL 3\r\nQUIT\r\n",
		login + "DELE 1\r\nDELE 2\r\n",
		"AUTH PLAIN AGFubmEAc2VjcmV0\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n",
		"AUTH LOGIN\r\nYW5uYQ==\r\nc2VjcmV0\r\nTOP 1 0\r\n",
		"AUTH LOGIN YW5uYQ==\r\n*\r\nAUTH PLAIN =\r\nAUTH PLAIN\r\n\r\n",
		"STLS\r\nUSER anna\r\n",
		"USER anna\nPASS  \nRETR 99999999999999999999\n\x00\xff\r\r\n",
		strings.Repeat("x", 9000) + "\r\nQUIT\r\n",
	} {
		f.Add([]byte(seed))
	}
	o := newOffice(f)
	o.addMailbox("anna", "secret", false)
	anna := auth.Principal{Dir: o.mailbox("anna").Dir}
	box := filepath.Join(o.path, anna.Dir)
	var ids []string // by message number minus one
	for _, text := range []string{"Subject: one\r\n\r\n.dot\r\n..\r\n", "Subject: two\r\n\r\nx", "+OK message 1 deleted\r\n\r\n+OK good-bye\r\n"} {
		ids = append(ids, o.deliver("anna", text))
	}
	messages := readFiles(f, box)
	config := *o.newServer(nil).config.Load()
	config.MaxErrors = 100
	s := New(config, o.store, authFunc(func(_ context.Context, user string) (auth.Principal, error) {
		if user != "anna" {
			return auth.Principal{}, auth.ErrInvalid
		}
		return anna, nil
	}), slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelError})))

	f.Fuzz(func(t *testing.T, input []byte) {
		o.disk.Start(nil) // forget what it recorded
		for name, text := range messages {
			if _, err := os.Stat(filepath.Join(box, name)); err != nil {
				if err := os.WriteFile(filepath.Join(box, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		conn := &script{Reader: bytes.NewReader(input)}
		newSession(s, conn, false).serve()
		if log := o.log.String(); log != "" {
			t.Fatalf("%q: %s", input, log)
		}
		want := maps.Clone(messages)
		for number := range confirmed(t, conn.String()) {
			maps.DeleteFunc(want, func(name, _ string) bool { return strings.HasPrefix(name, ids[number-1]) })
		}
		if got := readFiles(t, box); !maps.Equal(got, want) {
			t.Errorf("%q, answered with\n%s\nleft %d messages, not %d", input, conn.String(), len(got), len(want))
		}
	})
}

var (
	replyForm     = regexp.MustCompile(`^(\+OK [^\r\n]+|-ERR [^\r\n]+|\+ [A-Za-z0-9=]*)\r\n$`)
	multiLineForm = regexp.MustCompile(`^\+OK (what this server can do|mechanisms:|\d+ messages \(\d+ octets\)|\d+ octets|the top of the message)\r\n$`)
	deletedForm   = regexp.MustCompile(`^\+OK message (\d+) deleted\r\n$`)
)

// confirmed reads all replies of a server, checks their form, and returns the numbers of the
// messages that the client may assume to be deleted.
func confirmed(t *testing.T, replies string) map[int]bool {
	marked := make(map[int]bool)
	multiLine := false
	for line := range strings.Lines(replies) {
		switch {
		case multiLine:
			multiLine = line != ".\r\n"
		case !replyForm.MatchString(line):
			t.Fatalf("not a reply: %q", line)
		case strings.HasPrefix(line, "+OK begin TLS"):
			return nil // what follows is not text
		case strings.HasPrefix(line, "+OK nothing is marked"):
			clear(marked)
		case strings.HasPrefix(line, "+OK good-bye"):
			if !strings.HasSuffix(replies, line) {
				t.Fatalf("more than good-bye: %q", replies)
			}
			return marked
		default:
			multiLine = multiLineForm.MatchString(line)
			if m := deletedForm.FindStringSubmatch(line); m != nil {
				number, _ := strconv.Atoi(m[1])
				marked[number] = true
			}
		}
	}
	if multiLine {
		t.Fatalf("a reply without end: %q", replies)
	}
	return nil
}

func readFiles(t testing.TB, dir string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = string(text)
	}
	return files
}
