package route

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
)

func TestFor(t *testing.T) {
	table := &Table{
		Routes: []Route{
			{Name: "all", Domains: []string{"*"}},
			{Name: "below", Domains: []string{"*.example.com"}},
			{Name: "deeper", Domains: []string{"*.a.example.com"}},
			{Name: "exact", Domains: []string{"other.example", "x.a.example.com"}},
			{Name: "again", Domains: []string{"x.a.example.com"}},
			{Name: "literal", Domains: []string{"[192.0.2.1]"}},
		},
		Default: Route{Name: "default"},
	}
	for domain, want := range map[addr.Domain]string{
		"example.com": "all", "b.example.com": "below", "a.example.com": "below", "y.a.example.com": "deeper", "x.a.example.com": "exact",
		"other.example": "exact", "sub.other.example": "all", "notexample.com": "all", "[192.0.2.1]": "literal", "[192.0.2.2]": "all",
	} {
		if got := table.For(domain).Name; got != want {
			t.Errorf("%s goes by %s, want %s", domain, got, want)
		}
	}
	table.Routes = table.Routes[1:]
	if got := table.For("nowhere.example").Name; got != "default" {
		t.Errorf("default is %s", got)
	}
}

func TestParsePattern(t *testing.T) {
	for in, want := range map[string]string{
		"*": "*", "*.Example.COM": "*.example.com", "bücher.example": "xn--bcher-kva.example", "[192.0.2.1]": "[192.0.2.1]",
		"": "", "*.": "", "a.*.b": "", "*x.example": "", "*.*": "", "a b": "",
	} {
		got, err := ParsePattern(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}

func TestDestination(t *testing.T) {
	host := []Host{{Name: "relay.example"}}
	for _, tt := range []struct {
		route Route
		want  string
	}{
		{Route{Name: "r"}, "x.example"},
		{Route{Name: "r", SmartHost: host}, "route:r"},
		{Route{Name: "r", SmartHost: host, DirectFirst: true}, "x.example"},
	} {
		if got := tt.route.Destination("x.example"); got != tt.want {
			t.Errorf("%+v: %s", tt.route, got)
		}
	}
}

func TestTLSMode(t *testing.T) {
	for m := TLSOpportunistic; m <= TLSVerified; m++ {
		text, _ := m.MarshalText()
		var back TLSMode
		if err := back.UnmarshalText(text); err != nil || back != m {
			t.Errorf("%s: %v %v", text, back, err)
		}
	}
	if m, err := ParseTLSMode(""); m != TLSOpportunistic || err != nil {
		t.Error(m, err)
	}
	if _, err := ParseTLSMode("yes"); err == nil {
		t.Error("yes is a mode")
	}
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"mail.isp.net": "mail.isp.net:25", "Mail.ISP.net:587": "mail.isp.net:587", " relay ": "relay:25",
		"[10.0.0.1]:26": "10.0.0.1:26", "[10.0.0.1]": "10.0.0.1:25", "10.0.0.1": "10.0.0.1:25", "10.0.0.1:26": "10.0.0.1:25",
		"[2001:DB8::1]:26": "[2001:db8::1]:26", "[IPv6:2001:db8::1]": "[2001:db8::1]:25", "2001:db8::1": "[2001:db8::1]:25",
		"smtps://mail.isp.net": "mail.isp.net:465 tls", "SMTPS://mail.isp.net:25/": "mail.isp.net:25 tls", "smtp://mail.isp.net": "mail.isp.net:25",
		"lmtp://[::1]:24": "[::1]:24", "/run/dovecot/lmtp": "/run/dovecot/lmtp", "unix:/run/lmtp": "/run/lmtp", "bücher.example": "xn--bcher-kva.example:25",
	} {
		if in == "10.0.0.1:26" {
			want = "10.0.0.1:26"
		}
		h, err := ParseHost(in)
		got := h.Socket
		if got == "" {
			name := h.Name
			if h.Addr.Is6() {
				name = "[" + h.Addr.String() + "]"
			} else if h.Addr.IsValid() {
				name = h.Addr.String()
			}
			got = fmt.Sprintf("%s:%d", name, h.DialPort(false))
		}
		if h.ImplicitTLS {
			got += " tls"
		}
		if err != nil || got != want {
			t.Errorf("%q is %s, want %s (%v)", in, got, want, err)
		}
	}
	for _, bad := range []string{
		"", ":", ":25", "a:b", "a:0", "a:65536", "a:+1", "a:-1", "a:", "a b", "[10.0.0.1", "[10.0.0.1]26", "[]", "[a]", "http://a", "://a", "unix:relative",
		"a/b", "0.0.0.0", "[::]:25", "224.0.0.1", "/" + strings.Repeat("x", 108), "/a\x00b", "a:25:26", "user@host", "-a",
	} {
		if h, err := ParseHost(bad); err == nil {
			t.Errorf("%q is %+v", bad, h)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"mail.isp.net:587", "[10.0.0.1]:25", "smtps://mail.isp.net", "/run/lmtp", "unix:/x", "[IPv6:::1]", "::1", "fe80::1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if err != nil {
			return
		}
		again, err := ParseHost(h.String())
		if err != nil || again != h {
			t.Fatalf("%q is %+v, written %q, read %+v %v", s, h, h, again, err)
		}
		if given := h.Socket != "" || h.Addr.IsValid() || h.Name != ""; !given || h.DialPort(true) < 1 || h.DialPort(true) > math.MaxUint16 {
			t.Fatalf("%q is %+v", s, h)
		}
	})
}

func TestWait(t *testing.T) {
	s := DefaultSchedule()
	for attempts, want := range map[int]time.Duration{0: 15, 1: 15, 2: 30, 3: 60, 4: 240, 5: 240, 1000: 240} {
		want *= time.Minute
		seen := map[time.Duration]bool{}
		for i := range 200 {
			got := s.Wait(attempts, fmt.Sprint(i))
			if got < want*9/10 || got > want*11/10 || got != s.Wait(attempts, fmt.Sprint(i)) {
				t.Fatalf("%d: %v", attempts, got)
			}
			seen[got] = true
		}
		if len(seen) < 100 {
			t.Errorf("%d: only %d different waits", attempts, len(seen))
		}
	}
	if got := (Schedule{}).Wait(1, "x"); got < 13*time.Minute {
		t.Error(got)
	}
}

// at returns a time in the week of Monday, 2026-06-01.
func at(t *testing.T, s string) time.Time {
	t.Helper()
	day, clock, _ := strings.Cut(s, " ")
	c, err := time.Parse("15:04", clock)
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index("MonTueWedThuFriSatSun", day) / 3
	return time.Date(2026, 6, 1+i, c.Hour(), c.Minute(), 0, 0, time.UTC)
}

func TestWindows(t *testing.T) {
	for _, tt := range []struct {
		windows string // separated by ;
		at      string
		open    bool
		next    string
	}{
		{"", "Mon 00:00", true, ""},
		{"Mon-Fri 08:00-18:00", "Mon 07:59", false, "Mon 08:00"},
		{"Mon-Fri 08:00-18:00", "Mon 08:00", true, ""},
		{"Mon-Fri 08:00-18:00", "Mon 17:59", true, ""},
		{"Mon-Fri 08:00-18:00", "Mon 18:00", false, "Tue 08:00"},
		{"mon-fri 8:00-18:00", "Tue 00:00", false, "Tue 08:00"},
		{"22:00-06:00", "Mon 21:00", false, "Mon 22:00"},
		{"22:00-06:00", "Mon 23:00", true, ""},
		{"22:00-06:00", "Mon 05:59", true, ""},
		{"22:00-06:00", "Mon 06:00", false, "Mon 22:00"},
		{"Mon 22:00-06:00", "Mon 05:00", false, "Mon 22:00"},
		{"Mon 22:00-06:00", "Tue 05:00", true, ""},
		{"Sat,Sun", "Fri 23:59", false, "Sat 00:00"},
		{"Saturday,Sunday", "Sun 23:59", true, ""},
		{"Fri-Mon", "Sun 12:00", true, ""},
		{"Fri-Mon", "Tue 12:00", false, "Fri 00:00"},
		{"12:00-24:00", "Mon 23:59", true, ""},
		{"Tue 10:00-11:00;Tue 09:00-09:30", "Mon 12:00", false, "Tue 09:00"},
		{"never", "Mon 12:00", false, "never"},
	} {
		var texts []string
		if tt.windows != "" {
			texts = strings.Split(tt.windows, ";")
		}
		w, err := ParseWindows(texts)
		if err != nil {
			t.Fatal(err)
		}
		now := at(t, tt.at)
		if w.Open(now) != tt.open {
			t.Errorf("%s at %s: %v", tt.windows, tt.at, !tt.open)
		}
		want := now
		switch {
		case tt.next == "never":
			want = time.Time{}
		case tt.next != "":
			want = at(t, tt.next)
		}
		if got := w.Next(now); !got.Equal(want) {
			t.Errorf("%s from %s: next %v, want %v", tt.windows, tt.at, got, want)
		}
	}
	// A week ahead, on the same day.
	w, _ := ParseWindows([]string{"Mon 08:00-09:00"})
	if got := w.Next(at(t, "Mon 09:00")); !got.Equal(at(t, "Mon 08:00").AddDate(0, 0, 7)) {
		t.Error(got)
	}
	for _, bad := range []string{"", "x", "Mon-", "08:00", "08:00-", "08:00-25:00", "8-9", "08:00-08:00", "24:00-06:00", "Mon 08:00-09:00 x", "Mon Tue", "08:0-09:00", "never;08:00-09:00"} {
		if _, err := ParseWindows(strings.Split(bad, ";")); err == nil {
			t.Errorf("%q is a window", bad)
		}
	}
}

// In spring an hour is missing; in autumn one hour occurs twice.
func TestWindowsAndTheClock(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	w, _ := ParseWindows([]string{"02:30-03:30"})
	for _, day := range []time.Time{time.Date(2026, 3, 29, 0, 0, 0, 0, berlin), time.Date(2026, 10, 25, 0, 0, 0, 0, berlin)} {
		next := w.Next(day)
		if !w.Open(next) || next.Sub(day) > 5*time.Hour {
			t.Errorf("%v: next %v", day, next)
		}
	}
}

func FuzzParseWindows(f *testing.F) {
	for _, s := range []string{"Mon-Fri 08:00-18:00", "22:00-06:00", "never", "Sun", "Sat,Sun 00:00-24:00"} {
		f.Add(s, int64(1780000000))
	}
	f.Fuzz(func(t *testing.T, s string, when int64) {
		w, err := ParseWindows([]string{s})
		if err != nil {
			return
		}
		now := time.Unix(when%(1<<33), 0).UTC()
		next := w.Next(now)
		switch {
		case next.IsZero():
			if !strings.EqualFold(strings.TrimSpace(s), "never") {
				t.Fatalf("%q never opens", s)
			}
		case !w.Open(next) || next.Before(now) || next.Sub(now) > 8*24*time.Hour:
			t.Fatalf("%q from %v: next %v", s, now, next)
		case next.After(now):
			for back := time.Minute; back < 8*24*time.Hour && !next.Add(-back).Before(now); back += time.Minute {
				if w.Open(next.Add(-back)) {
					t.Fatalf("%q opens before %v", s, next)
				}
			}
		}
	})
}
