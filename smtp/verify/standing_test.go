package verify

import (
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// TestStanding checks that a verified author proves nothing about a reverse-path in another domain.
func TestStanding(t *testing.T) {
	spf := func(v Value, identity, domain string) SPF {
		return SPF{Value: v, Identity: identity, Domain: addr.Domain(domain)}
	}
	dmarc := func(v Value, domain string) DMARC { return DMARC{Value: v, Domain: addr.Domain(domain)} }
	tests := []struct {
		name    string
		results Results
		from    string
		want    smtp.Standing
	}{
		{"nothing known", Results{}, "a@bank.example", smtp.StandingNone},
		{"SPF", Results{SPF: spf(Pass, "mailfrom", "bank.example")}, "a@bank.example", smtp.StandingSPF},
		{"SPF of the HELO name alone", Results{SPF: spf(Pass, "helo", "bank.example")}, "a@bank.example", smtp.StandingNone},
		{"SPF says no", Results{SPF: spf(Fail, "mailfrom", "bank.example")}, "a@bank.example", smtp.StandingNone},
		{"SPF does not care", Results{SPF: spf(Neutral, "mailfrom", "bank.example")}, "a@bank.example", smtp.StandingNone},
		{"DNS is silent", Results{SPF: spf(TempError, "mailfrom", "bank.example")}, "a@bank.example", smtp.StandingNone},
		{"DMARC", Results{SPF: spf(Fail, "mailfrom", "bank.example"), DMARC: dmarc(Pass, "bank.example")}, "a@bank.example", smtp.StandingDMARC},
		{"DMARC of the same organization", Results{DMARC: dmarc(Pass, "news.bank.example")}, "bounce@mail.bank.example", smtp.StandingDMARC},
		{"DMARC of another author", Results{DMARC: dmarc(Pass, "attacker.example")}, "victim@bank.example", smtp.StandingNone},
		{"DMARC fails", Results{DMARC: dmarc(Fail, "bank.example")}, "a@bank.example", smtp.StandingNone},
		{"no sender", Results{SPF: spf(Pass, "mailfrom", "")}, "", smtp.StandingNone},
	}
	for _, test := range tests {
		if got := test.results.Standing(address(t, test.from)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestStandingByDNS(t *testing.T) {
	v := New(Options{Servers: []string{world(t).Addr()}})
	for _, test := range []struct {
		ip   int
		from string
		want smtp.Standing
	}{
		{1, "a@bank.example", smtp.StandingSPF},
		{66, "a@bank.example", smtp.StandingNone},
		{1, "a@nowhere.example", smtp.StandingNone},
		{1, "", smtp.StandingNone},
	} {
		client := good
		if test.ip == 66 {
			client = stranger
		}
		if got := v.Standing(t.Context(), client, "mail.bank.example", address(t, test.from)); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
