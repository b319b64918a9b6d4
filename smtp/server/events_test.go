package server

import (
	"crypto/tls"
	"log/slog"
	gosmtp "net/smtp"
	"strings"
	"sync"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
)

// events keeps what it reads.
type events struct {
	mu  sync.Mutex
	all []track.Event // owner: mu
}

func (r *events) read(e *track.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, *e)
}

func (r *events) kinds() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.all {
		all = append(all, e.Kind.String())
	}
	return all
}

// watch returns a log of events, and what it is told.
func watch(t *testing.T) (*events, *track.Log) {
	r := new(events)
	log := track.Open(mailtest.NewPowerFS(), track.Options{Discard: true},
		slog.New(slog.DiscardHandler), r.read)
	t.Cleanup(log.Close)
	return r, log
}

// The event of TLS follows that of the connection, after STARTTLS and with implicit TLS, and has
// version and cipher suite.
func TestTLSEvent(t *testing.T) {
	for _, test := range []struct {
		name    string
		service smtp.Service
		dial    func(t *testing.T, o *office) *gosmtp.Client
		want    string // the kinds of events
	}{
		{"without TLS", smtp.Submission, dialPlain, "connected, disconnected"},
		{"STARTTLS", smtp.Submission, func(t *testing.T, o *office) *gosmtp.Client {
			c := dialPlain(t, o)
			if err := c.StartTLS(o.tls); err != nil {
				t.Fatal(err)
			}
			return c
		}, "connected, tls, disconnected"},
		{"implicit", smtp.SMTPS, func(t *testing.T, o *office) *gosmtp.Client {
			conn, err := tls.Dial("tcp", o.addr, o.tls)
			if err != nil {
				t.Fatal(err)
			}
			c, err := gosmtp.NewClient(conn, "example.com")
			if err != nil {
				t.Fatal(err)
			}
			return c
		}, "connected, tls, disconnected"},
		{"a handshake that fails", smtp.Submission, func(t *testing.T, o *office) *gosmtp.Client {
			c := dialPlain(t, o)
			if err := c.StartTLS(&tls.Config{ServerName: "elsewhere.example"}); err == nil {
				t.Fatal("the client trusted the certificate")
			}
			return c
		}, "connected, disconnected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen, log := watch(t)
			o := newTrackedOffice(t, test.service, nil, log)
			c := test.dial(t, o)
			_ = c.Quit() // a failed handshake has ended the connection
			c.Close()
			o.server.Shutdown(t.Context())
			if got := strings.Join(seen.kinds(), ", "); got != test.want {
				t.Errorf("events: %s; want %s", got, test.want)
			}
			for _, e := range seen.all {
				if e.Service != test.service.String() || e.Session != seen.all[0].Session {
					t.Errorf("%s: service %q, session %d", e.Kind, e.Service, e.Session)
				}
				if e.Kind == track.Secured && e.Text != "TLS 1.3 TLS_AES_128_GCM_SHA256" {
					t.Errorf("the text is %q", e.Text)
				}
			}
		})
	}
}

func dialPlain(t *testing.T, o *office) *gosmtp.Client {
	c, err := gosmtp.Dial(o.addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
