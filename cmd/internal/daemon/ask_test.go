package daemon

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// serveTest answers on the control socket of a data directory with a long name.
func serveTest(t *testing.T, handler http.Handler) (data string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	path, done, err := socketPath(data)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return data
}

func TestAsk(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		var in []string
		json.NewDecoder(r.Body).Decode(&in)
		answer(w, append(in, "back"))
	})
	mux.HandleFunc("GET /bad", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such thing", http.StatusBadRequest) })
	data := serveTest(t, mux)
	var out []string
	if err := ask(t.Context(), data, http.MethodPost, "/echo", []string{"there"}, &out); err != nil || !slices.Equal(out, []string{"there", "back"}) {
		t.Errorf("%v %v", out, err)
	}
	for _, c := range []struct{ data, path, want string }{
		{data, "/bad", "the server answers: no such thing"},
		{data, "/nothing", "does not know this command"},
		{t.TempDir(), "/bad", ErrNotRunning.Error()},
		{filepath.Join(data, "missing"), "/bad", ErrNotRunning.Error()},
	} {
		if err := ask(t.Context(), c.data, http.MethodGet, c.path, nil, &out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.path, err, c.want)
		}
	}
}

func TestNotRunning(t *testing.T) {
	if _, err := AskRecount(t.Context(), t.TempDir()); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}

// A reply line holds no more than RFC 5321 §4.5.3.1.5 and RFC 2449 §4 allow.
func TestRefusals(t *testing.T) {
	until := time.Date(2026, 11, 21, 14, 30, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct{ got, want string }{
		{refuseSMTP("mail.office.example", until), "554 5.7.1 mail.office.example Too many wrong passwords came from your address: banned until 2026-11-21 14:30:00 +0100\r\n"},
		{refusePOP3(until), "-ERR [SYS/TEMP] too many wrong passwords came from your address: banned until 2026-11-21 14:30:00 +0100\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("got %q", c.got)
		}
	}
	if n := len(refuseSMTP(strings.Repeat("x", 255), until)); n > 512 {
		t.Errorf("%d octets", n)
	}
}
