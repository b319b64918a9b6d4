package daemon

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/auth"
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

func TestAskBans(t *testing.T) {
	bans := auth.NewBans(auth.BanOptions{After: 3}, slog.New(slog.DiscardHandler))
	mux := http.NewServeMux()
	serveBans(mux, bans)
	data := serveTest(t, mux)
	if banned, err := AskBans(t.Context(), data); err != nil || banned == nil || len(banned) != 0 {
		t.Errorf("%v %v", banned, err)
	}
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::/64", "2001:db8::1": "2001:db8::/64",
	} {
		known, err := AskWhy(t.Context(), data, netip.MustParseAddr(ip))
		if err != nil || known.Address != want || known.Limit != 3 || known.Banned() {
			t.Errorf("%s: %+v %v", ip, known, err)
		}
		if lifted, err := AskLift(t.Context(), data, netip.MustParseAddr(ip)); lifted || err != nil {
			t.Errorf("%s: %v %v", ip, lifted, err)
		}
	}
}

func TestNotRunning(t *testing.T) {
	if _, err := AskBans(t.Context(), t.TempDir()); !errors.Is(err, ErrNotRunning) {
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
