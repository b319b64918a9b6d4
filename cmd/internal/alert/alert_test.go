package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/durable"
)

// world is a server whose readings a test chooses, with a mailbox and a webhook.
type world struct {
	t   *testing.T
	dir string

	mu       sync.Mutex // guards all below but cancel and ended
	settings Settings
	reading  Reading
	mail     []string // subjects
	bodies   []string
	hook     []Message // that it took
	tries    int
	down     bool // the webhook
	mailDown bool
	log      bytes.Buffer

	cancel func()
	ended  chan struct{}
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), reading: good()}
	secret := filepath.Join(w.dir, "secret")
	if err := os.WriteFile(secret, []byte("key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.settings = Settings{
		Enabled: true, Limits: usual, Webhook: "https://hook.example/T0PSECRET",
		SecretFile: secret, Hostname: "mail.office.example",
	}
	return w
}

// set changes the world while the server runs.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// Write takes the log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// RoundTrip is the webhook.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries++
	if w.down {
		return nil, errors.New("connection refused")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
	}
	if got, want := r.Header.Get(SignatureHeader), Sign(body, "key"); got != want {
		w.t.Errorf("signature %q, want %q", got, want)
	}
	var m Message
	if err := json.Unmarshal(body, &m); err != nil {
		w.t.Error(err)
	}
	w.hook = append(w.hook, m)
	return &http.Response{StatusCode: 204, Body: http.NoBody, Request: r}, nil
}

// begin starts the server's alerts.
func (w *world) begin() {
	root, err := durable.Open(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	a := New(Parts{
		Files: root, Settings: func() (s Settings) {
			w.set(func() { s = w.settings })
			return s
		},
		Read: func() Reading {
			var r Reading
			w.set(func() { r = w.reading })
			r.Time = time.Now()
			r.CertificateStart, r.CertificateEnd = r.Time.AddDate(0, -1, 0), r.Time.AddDate(1, 0, 0)
			return r
		},
		Mail: func(subject, body string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.mailDown {
				return errors.New("the mail store is being recovered")
			}
			w.mail, w.bodies = append(w.mail, subject), append(w.bodies, body)
			return nil
		},
		Client: NewClient(w), Log: slog.New(slog.NewTextHandler(w, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	w.ended = make(chan struct{})
	ended := w.ended
	go func() { defer close(ended); defer root.Close(); a.Run(ctx) }()
	w.cancel = cancel
}

func (w *world) end() { w.cancel(); <-w.ended }

// pass lets time pass, and what is due then happen.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) told(mail, hook int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mail) != mail || len(w.hook) != hook {
		w.t.Errorf("%d mails %q, %d webhooks; want %d and %d", len(w.mail), w.mail, len(w.hook),
			mail, hook)
	}
}

// TestOnce: an alert is told once on each channel, with its remedy, and its end too.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin()
		defer w.end()
		w.pass(time.Hour)
		w.told(0, 0)
		if _, err := os.Stat(filepath.Join(w.dir, File)); err == nil {
			t.Error("there is a file without an alert")
		}
		w.set(func() { w.reading.DiskPercent = 5 })
		w.pass(24 * time.Hour)
		w.told(1, 1)
		if m := w.hook[0]; m.Alert != Disk || m.Event != Raised || m.ID == "" || m.Version != 1 ||
			m.Server != "mail.office.example" || !strings.Contains(m.Text, "pillarbox admin quota") {
			t.Errorf("%+v", m)
		}
		if !strings.Contains(w.bodies[0], "pillarbox admin quota") {
			t.Errorf("no remedy: %s", w.bodies[0])
		}
		w.set(func() { w.reading.DiskPercent = 60 })
		w.pass(time.Hour)
		w.told(2, 2)
		if !strings.HasPrefix(w.mail[1], "Over: ") || w.hook[1].Event != Ended {
			t.Errorf("%q %+v", w.mail[1], w.hook[1])
		}
	})
}

// TestWebhookDown: a webhook that is down gets every alert later, in order, with growing pauses. It
// delays no mail, and its URL is not in the log.
func TestWebhookDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin()
		defer w.end()
		w.set(func() { w.down, w.reading.DiskPercent = true, 5 })
		w.pass(5 * time.Minute)
		w.told(1, 0)
		w.set(func() { w.reading.Banned = 30 })
		w.pass(24 * time.Hour)
		w.told(2, 0)
		if w.tries < 20 || w.tries > 40 {
			t.Errorf("%d tries in a day", w.tries)
		}
		w.set(func() { w.down = false })
		w.pass(lastRetry)
		w.told(2, 2)
		if w.hook[0].Alert != Disk || w.hook[1].Alert != Bans || w.hook[0].ID == w.hook[1].ID {
			t.Errorf("%+v", w.hook)
		}
		if strings.Contains(w.log.String(), "T0PSECRET") {
			t.Errorf("the log has the URL: %s", w.log.String())
		}
		if n := strings.Count(w.log.String(), "cannot tell of an alert"); n != 1 {
			t.Errorf("the log tells %d times that the webhook is down", n)
		}
	})
}

// TestRestart: a restart neither repeats an alert nor loses one that waits.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin()
		w.set(func() { w.down, w.reading.DiskPercent = true, 5 })
		w.pass(5 * time.Minute)
		w.end()
		w.told(1, 0)
		w.set(func() { w.down = false })
		w.begin()
		w.pass(time.Hour)
		w.told(1, 1)
		w.end()
		w.begin()
		w.pass(time.Hour)
		w.told(1, 1)
		w.set(func() { w.reading.DiskPercent = 60 })
		w.pass(time.Hour)
		w.told(2, 2)
		w.end()
	})
}

// TestMailDown: mail that cannot be stored is told when it can.
func TestMailDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin()
		defer w.end()
		w.set(func() { w.mailDown, w.reading.StoreFault = true, "it recovers" })
		w.pass(time.Hour)
		w.told(0, 1)
		w.set(func() { w.mailDown, w.reading.StoreFault = false, "" })
		w.pass(2 * time.Hour)
		w.told(2, 2)
	})
}

// TestBounded: notices for a channel that never works are dropped, the oldest first, and after some
// days.
func TestBounded(t *testing.T) {
	var waiting []Notice
	for i := range maxWaiting + 10 {
		waiting = push(waiting, Notice{Facts: Facts{Count: i}})
	}
	if len(waiting) != maxWaiting || waiting[0].Facts.Count != 10 {
		t.Errorf("%d notices, the first %+v", len(waiting), waiting[0])
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin()
		defer w.end()
		w.set(func() { w.down, w.reading.DiskPercent = true, 5 })
		w.pass(maxAge + 2*lastRetry)
		w.set(func() { w.down = false })
		w.pass(2 * lastRetry)
		w.told(1, 0)
	})
}

// TestAccount: the session has told the postmaster, so only the webhook hears of a held account.
func TestAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin()
		defer w.end()
		w.set(func() { w.reading.Held = []string{"anna@office.example"} })
		w.pass(time.Hour)
		w.told(0, 1)
	})
}

// TestSwitchedOff: without [alerts] nothing is read or told, and without a webhook only mail is
// sent.
func TestSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(func() { w.settings.Enabled, w.reading.DiskPercent = false, 1 })
		w.begin()
		defer w.end()
		w.pass(time.Hour)
		w.told(0, 0)
		w.set(func() { w.settings.Enabled, w.settings.Webhook = true, "" })
		w.pass(time.Hour)
		w.told(1, 0)
	})
}

// TestDamagedFile: a damaged file is told, and alerts go on.
func TestDamagedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if err := os.WriteFile(filepath.Join(w.dir, File), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.set(func() { w.reading.DiskPercent = 1 })
		w.begin()
		defer w.end()
		w.pass(time.Hour)
		w.told(1, 1)
		if !strings.Contains(w.log.String(), "is damaged") {
			t.Error(w.log.String())
		}
	})
}
