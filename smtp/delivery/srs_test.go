package delivery

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/srs"
)

// The sender is rewritten only if a remote one's message is forwarded from here.
func TestRewrittenSender(t *testing.T) {
	o := newOffice(t)
	keys := srs.Open(o.root)
	cfg := *o.config.Load()
	cfg.Rewrite = func(from addr.Address, domain addr.Domain) (addr.Address, error) {
		return keys.Forward(from, domain, time.Now())
	}
	o.SetConfig(cfg)
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"carl@partner.example", "away@office.example", true},
		{"carl@partner.example", "all@office.example", true},
		{"carl@partner.example", "z@far.example", false},
		{"anna@office.example", "away@office.example", false},
		{"", "away@office.example", false},
	} {
		o.items = nil
		o.send(nil, tt.from, tt.to)
		if len(o.items) != 1 || o.items[0].From != address(tt.from) {
			t.Fatalf("%+v: %+v", tt, o.items)
		}
		item, err := queue.Decode(o.items[0].ID, o.items[0].Encode())
		if err != nil {
			t.Fatal(err)
		}
		got := item.Envelope()
		if tt.want != strings.HasPrefix(got.Sender.Local, "SRS0=") || got.Sender.IsZero() == tt.want {
			t.Errorf("%+v: sender %q", tt, got.Sender)
		} else if back, err := keys.Reverse(got.Sender, time.Now()); tt.want && (err != nil || back != address(tt.from) || got.Sender.Domain != "office.example") {
			t.Errorf("%s came back as %s, %v", got.Sender, back, err)
		}
	}
}

// A report to a rewritten sender goes to the first sender.
func TestReportComesBack(t *testing.T) {
	o := newOffice(t)
	keys := srs.Open(o.root)
	o.Dir.SetOptions(directory.Options{Forwarded: func(a addr.Address) (addr.Address, bool, error) {
		sender, err := keys.Reverse(a, time.Now())
		return sender, srs.Is(a.Local), err
	}})
	to, err := keys.Forward(address("carl@partner.example"), "office.example", time.Now())
	must(t, err)
	o.send(nil, "", strings.ToLower(to.String()))
	if len(o.items) != 1 || o.items[0].To[0].Address != address("carl@partner.example") || !o.items[0].From.IsZero() {
		t.Errorf("%+v", o.items)
	}
}

// Without a key the message goes with its own sender.
func TestSenderCannotBeRewritten(t *testing.T) {
	o := newOffice(t)
	cfg := *o.config.Load()
	cfg.Rewrite = func(addr.Address, addr.Domain) (addr.Address, error) { return addr.Address{}, errors.New("no key") }
	o.SetConfig(cfg)
	o.send(nil, "carl@partner.example", "away@office.example")
	if len(o.items) != 1 || !o.items[0].Sender.IsZero() || o.items[0].From != address("carl@partner.example") {
		t.Errorf("%+v", o.items)
	}
}
