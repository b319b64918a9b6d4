package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

// fakeACME renews until it has an error.
type fakeACME struct {
	end time.Time
	err error
}

func (f *fakeACME) Status() acme.Status { return acme.Status{Enabled: true, NotAfter: f.end} }

func (f *fakeACME) Renew(context.Context) error {
	f.end = f.end.Add(time.Hour)
	return f.err
}

// The running server answers about clients and ACME, and each renewal is recorded.
func TestRunningTLS(t *testing.T) {
	o := office(t)
	if _, err := ACMEStatus.Do(t.Context(), o, struct{}{}); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
	authority := &fakeACME{end: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	clients := []certs.Client{{Service: "pop3s"}, {Service: "smtps", Legacy: true}, {Service: "smtp", Refused: true}}
	o.Running = &Running{ACME: authority, TLSClients: func() []certs.Client { return clients }}
	for legacy, want := range map[bool]int{false: 3, true: 2} {
		if all, err := TLSClients.Do(t.Context(), o, TLSClientsQuestion{Legacy: legacy}); err != nil || len(all) != want {
			t.Errorf("legacy %v: %+v, %v", legacy, all, err)
		}
	}
	clients = nil
	if all, err := TLSClients.Do(t.Context(), o, TLSClientsQuestion{}); err != nil || all == nil {
		t.Errorf("none: %#v, %v", all, err)
	}
	if s, err := ACMERenew.Do(t.Context(), o, struct{}{}); err != nil || !s.NotAfter.Equal(authority.end) {
		t.Errorf("%+v, %v", s, err)
	}
	authority.err = errors.New("connection refused")
	if _, err := ACMERenew.Do(t.Context(), o, struct{}{}); err == nil || err.Error() != "connection refused" {
		t.Error(err)
	}
	events, _, err := o.Audit(AuditQuestion{Object: "certificate by ACME"})
	if err != nil || len(events) != 1 || events[0].Act != "tls acme renew" || !strings.Contains(string(events[0].After), "2027-01-01T01:00:00Z") {
		t.Errorf("%+v, %v", events, err)
	}
}

// Names of mail programs are in the certificate only if the page is served where they ask.
func TestCertificateNames(t *testing.T) {
	o := town(t)
	const both = "ours.example autoconfig.ours.example autodiscover.ours.example " +
		"theirs.example autoconfig.theirs.example autodiscover.theirs.example"
	for _, test := range []struct {
		web  []string
		want string
	}{
		{nil, ""}, {[]string{"127.0.0.1:443", "[::1]:443", ":8443"}, ""}, {[]string{":8443", ":443"}, both},
		{[]string{"192.168.1.10:443"}, both}, {[]string{"[::]:443"}, both},
	} {
		o.Config().Listen.Web = test.web
		if got := strings.Join(o.CertificateNames(), " "); got != test.want {
			t.Errorf("%v: %s", test.web, got)
		}
	}
}
