package alert

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)

var usual = Limits{
	DiskPercent: 10, Certificate: 20 * 24 * time.Hour, QueueAge: 4 * time.Hour, Bans: 20,
}

// good is a reading without trouble.
func good() Reading {
	return Reading{
		Time: start, Answers: true, DiskPercent: 60, DiskFree: 600e6, HeldOK: true,
		CertificateStart: start.AddDate(0, -1, 0), CertificateEnd: start.AddDate(0, 11, 0),
	}
}

// history decides one reading a minute, each changed by a step, and returns what was told, as
// "minute event kind".
func history(l Limits, minutes int, change func(minute int, r *Reading)) (told []string) {
	var active map[string]Active
	for minute := range minutes {
		r := good()
		r.Time = start.Add(time.Duration(minute) * time.Minute)
		change(minute, &r)
		var notices []Notice
		active, notices = Decide(active, l, r)
		for _, n := range notices {
			told = append(told, time.Duration(minute*int(time.Minute)).String()+" "+n.Event+" "+
				strings.TrimSpace(string(n.Kind)+" "+n.Facts.Text))
		}
	}
	return told
}

// between changes readings of some minutes.
func between(from, to int, change func(*Reading)) func(int, *Reading) {
	return func(minute int, r *Reading) {
		if minute >= from && minute < to {
			change(r)
		}
	}
}

func TestDecide(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		name   string
		change func(int, *Reading)
		want   []string
	}{
		{"all is well", func(int, *Reading) {}, nil},
		{"disk, once and its end", between(5, 50, func(r *Reading) { r.DiskPercent = 7 }),
			[]string{"5m0s raised disk", "1h0m0s ended disk"}},
		{"disk gets worse", func(m int, r *Reading) { r.DiskPercent = max(1, 12-m) },
			[]string{"3m0s raised disk", "9m0s worse disk"}},
		{"disk swings around the threshold", func(m int, r *Reading) { r.DiskPercent = 9 + m%3 },
			[]string{"0s raised disk"}},
		{"disk swings further than the hysteresis",
			func(m int, r *Reading) { r.DiskPercent = []int{9, 30}[m/8%2] },
			[]string{"0s raised disk"}},
		{"disk stays near the threshold", func(m int, r *Reading) {
			if r.DiskPercent = 11; m == 0 {
				r.DiskPercent = 9
			}
		}, []string{"0s raised disk"}},
		{"disk does not answer", between(5, 50, func(r *Reading) {
			r.Answers, r.DiskPercent, r.DamagedLogs = false, 0, 9
		}), []string{"7m0s raised storage the disk does not answer",
			"1h0m0s ended storage the disk does not answer"}},
		{"a short recovery is no alert",
			between(5, 7, func(r *Reading) { r.StoreFault = "it recovers" }), nil},
		{"certificate, in steps", func(m int, r *Reading) {
			r.CertificateEnd = r.CertificateStart.Add(365 * day)
			r.Time = start.Add(time.Duration(m) * 6 * time.Hour)
			r.CertificateStart = start.Add(-345*day + 12*time.Hour)
			r.CertificateEnd = r.CertificateStart.Add(365 * day)
		}, []string{"3m0s raised certificate", "1h11m0s worse certificate",
			"1h22m0s worse certificate"}},
		{"certificate for six days", func(m int, r *Reading) {
			r.CertificateStart, r.CertificateEnd = start.Add(-4*day), start.Add(2*day)
		}, nil},
		{"queue, once and its end", func(m int, r *Reading) {
			switch {
			case m < 60:
				r.QueueOldest = r.Time.Add(-5 * time.Hour)
			case m < 80:
				r.QueueOldest = r.Time.Add(-3 * time.Hour)
			case m < 85:
				r.QueueOldest = r.Time.Add(-time.Hour)
			}
		}, []string{"0s raised queue", "1h30m0s ended queue"}},
		{"bans", between(1, 30, func(r *Reading) { r.Banned = 25 }),
			[]string{"1m0s raised bans", "40m0s ended bans"}},
		{"damaged files, each", func(m int, r *Reading) { r.DamagedLogs = min(2, m/5) },
			[]string{"5m0s raised log", "10m0s worse log"}},
		{"no backup", between(1, 30, func(r *Reading) { r.BackupFault = "the disk is not mounted" }),
			[]string{"1m0s raised backup the disk is not mounted", "40m0s ended backup the disk is not mounted"}},
		{"two accounts", func(m int, r *Reading) {
			if m < 20 {
				r.Held = append(r.Held, "anna@office.example")
			}
			if m >= 3 {
				r.Held = append(r.Held, "boss@office.example")
			}
		}, []string{"0s raised account anna@office.example",
			"3m0s raised account boss@office.example",
			"30m0s ended account anna@office.example"}},
		{"unknown accounts end nothing", func(m int, r *Reading) {
			r.HeldOK = m == 0
			if m == 0 {
				r.Held = []string{"anna@office.example"}
			}
		}, []string{"0s raised account anna@office.example"}},
	} {
		if got := history(usual, 100, test.change); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestOff: a limit of 0 turns an alert off, and ends one that is active.
func TestOff(t *testing.T) {
	bad := func(_ int, r *Reading) {
		r.DiskPercent, r.Banned, r.CertificateEnd = 1, 99, r.Time.Add(time.Hour)
		r.QueueOldest = r.Time.Add(-99 * time.Hour)
	}
	if got := history(Limits{}, 30, bad); got != nil {
		t.Errorf("%q", got)
	}
	r := good()
	bad(0, &r)
	active, _ := Decide(nil, usual, r)
	if len(active) != 4 {
		t.Fatalf("%v", active)
	}
	var ended int
	for range 12 {
		r.Time = r.Time.Add(time.Minute)
		var notices []Notice
		active, notices = Decide(active, Limits{}, r)
		ended += len(notices)
	}
	if len(active) != 0 || ended != 4 {
		t.Errorf("%v, %d ended", active, ended)
	}
}

// TestTexts: each kind has a remedy with a command, in both languages, and the facts in its text.
func TestTexts(t *testing.T) {
	facts := Facts{Percent: 7, Octets: 70e6, Count: 23, When: start, Text: "anna@office.example"}
	facts.Text = "anna@office.example"
	shows := map[Kind]string{
		Disk: "7 %", Storage: facts.Text, Certificate: "2026-11-30", Queue: "23",
		Account: facts.Text, Bans: "23", Log: "23", Backup: facts.Text,
	}
	for kind, value := range shows {
		for _, german := range []bool{false, true} {
			n := Notice{Kind: kind, Event: Raised, Time: start, Since: start, Facts: facts}
			subject, body := n.Text(german)
			if subject == "" || !strings.Contains(body, value) ||
				!strings.Contains(body, "    pillarbox ") && !strings.Contains(body, "    dmesg ") {
				t.Errorf("%s: %q\n%s", kind, subject, body)
			}
			n.Event = Ended
			over, end := n.Text(german)
			if over == subject || !strings.HasSuffix(over, subject) || end == body ||
				strings.Contains(end, "    ") || strings.Contains(end, "%!") {
				t.Errorf("%s: %q\n%s", kind, over, end)
			}
			if strings.Contains(body, "%!") || strings.Contains(body, "\t") {
				t.Errorf("%s: %s", kind, body)
			}
			for line := range strings.SplitSeq(body, "\n") {
				if n := len([]rune(line)); n > 110 {
					t.Errorf("%s: a line of %d characters: %s", kind, n, line)
				}
			}
		}
	}
	if len(english) != len(shows)+1 || len(deutsch) != len(shows)+1 {
		t.Error("a kind has no text, or the test lacks a kind")
	}
}
