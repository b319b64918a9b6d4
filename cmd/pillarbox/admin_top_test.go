package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/recentlog"
	"pillarbox/cmd/internal/sysinfo"
	"pillarbox/cmd/internal/traffic"
	"pillarbox/mailstore/sessions"
)

var topTime = time.Date(2026, 11, 30, 12, 0, 10, 0, time.Local)

// The view has the counts, the rates and the busiest sessions first. The name that a client gives
// itself cannot forge the view.
func TestTopPage(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.7")
	before := admin.Top{Now: topTime.Add(-2 * time.Second), Today: traffic.Day{Refused: 1}}
	now := admin.Top{
		Now: topTime, Queue: 1, Active: 3,
		Today: traffic.Day{Accepted: traffic.Count{Messages: 5}, Refused: 2},
		Sessions: []sessions.Info{
			{ID: 1, Service: "pop3", Remote: client, Port: 7, State: sessions.Idle, User: "anna@office.example",
				Since: topTime.Add(-time.Hour), StateSince: topTime.Add(-time.Minute), TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256"},
			{ID: 2, Service: "smtp", Remote: client, State: sessions.Receiving, Helo: "\x1b[2J\nfake\tline",
				Since: topTime.Add(-time.Second), StateSince: topTime, In: 2048, Out: 10, Messages: 4},
			{ID: 3, Service: "smtp", Remote: client, State: sessions.Idle, StateSince: topTime, Since: topTime, Killed: true},
		},
	}
	now.Since, before.Since = topTime.Add(-2*time.Hour), topTime.Add(-2*time.Hour)
	want := []string{
		"12:00:10 up 2h 3 sessions queue: 1 message, 3 being delivered",
		"ACCEPTED DELIVERED RELAYED FETCHED REFUSED",
		"Today 5 0 0 0 2",
		"Per second 2.5 0.0 0.0 0.0 0.5",
		"",
		"ID SERVICE CLIENT NAME USER TLS STATE SINCE IN OUT MESSAGES",
		"2 smtp 192.0.2.7 ?[2J?fake?line - no receiving 0s 1s 2.0 KiB 10 B 4",
		"3 smtp 192.0.2.7 - - no closing 0s 0 B 0 B 0",
		"1 pop3 192.0.2.7:7 - anna@office.example TLS 1.3 idle 1m 1h 0 B 0 B 0",
		"",
	}
	lines := strings.Split(topPage(now, &before), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	for i := range max(len(lines), len(want)) {
		if i >= len(lines) || i >= len(want) || lines[i] != want[i] {
			t.Fatalf("line %d:\n%s", i, strings.Join(lines, "\n"))
		}
	}
	if page := topPage(admin.Top{Now: topTime, Since: topTime}, nil); strings.Contains(page, "Per second") ||
		strings.Contains(page, "SERVICE") {
		t.Errorf("without a last state and sessions:\n%s", page)
	}
}

// Rates are unknown where the counts begin again.
func TestRateCells(t *testing.T) {
	day := traffic.Day{Since: topTime, Complete: true, Fetched: traffic.Count{Messages: 10}}
	next, restored := day, day
	next.Since = topTime.Add(24 * time.Hour)
	restored.Complete = false
	const unknown = "-\t-\t-\t-\t-"
	before := admin.Top{Now: topTime, Since: topTime, Today: day}
	for name, tt := range map[string]struct {
		now  admin.Top
		want string
	}{
		"the same":    {admin.Top{Now: topTime.Add(time.Second), Since: topTime, Today: day}, "0.0\t0.0\t0.0\t0.0\t0.0"},
		"midnight":    {admin.Top{Now: topTime.Add(time.Second), Since: topTime, Today: next}, unknown},
		"restored":    {admin.Top{Now: topTime.Add(time.Second), Since: topTime, Today: restored}, unknown},
		"new server":  {admin.Top{Now: topTime.Add(time.Second), Since: topTime.Add(time.Second), Today: day}, unknown},
		"no time":     {before, unknown},
		"clock reset": {admin.Top{Now: topTime.Add(-time.Hour), Since: topTime, Today: day}, unknown},
	} {
		if got := rateCells(tt.now, before); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// q ends the view, other keys and the end of the input do not.
func TestWaitForQuit(t *testing.T) {
	for keys, want := range map[string]bool{"q": true, "xyQ": true, "xyz": false, "": false} {
		typed := make(chan struct{})
		waitForQuit(strings.NewReader(keys), typed)
		quit := false
		select {
		case <-typed:
			quit = true
		default:
		}
		if quit != want {
			t.Errorf("%q: %v", keys, quit)
		}
	}
}

func TestStatusTexts(t *testing.T) {
	nine, far := 9.4, 400.0
	for _, tt := range []struct{ got, want string }{
		{forecastText(sysinfo.Forecast{Measured: 7, Days: &nine}, &nine, true), "; lasts 9 days at the rate of the last 7h"},
		{forecastText(sysinfo.Forecast{Measured: 24 * 7}, &far, true), "; lasts 400 days at the rate of the last 7d"},
		{forecastText(sysinfo.Forecast{Measured: 7}, nil, true), "; it does not shrink noticeably"},
		{forecastText(sysinfo.Forecast{Measured: 5.9}, nil, true), "; how long that lasts is known after 6 hours"},
		{forecastText(sysinfo.Forecast{}, nil, false), ""},
		{clockStateText(sysinfo.Clock{}), "the kernel does not tell"},
		{clockStateText(sysinfo.Clock{Known: true}), "not synchronised; install chrony or turn on systemd-timesyncd"},
		{clockStateText(sysinfo.Clock{Known: true, Synchronized: true, Offset: -0.0015}), "synchronised, offset -1.500 ms"},
		{queueText(admin.QueueStatus{}), "0 messages"},
		{queueText(admin.QueueStatus{Messages: 7, Active: 1, Counted: 5, Reasons: []admin.QueueReason{
			{Wait: admin.WaitNext, Messages: 4}, {Wait: admin.WaitHeld, Messages: 1},
		}}), "7 messages, 1 being delivered: 4 to be tried again, 1 held (of the first 5)"},
		{certificateText(admin.CertificateStatus{Names: []string{"mx"}, Source: "files", Key: "RSA", NotAfter: topTime, Days: 1}),
			"mx (files, RSA): 1 day left, until 2026-11-30 12:00:10"},
		{certificateText(admin.CertificateStatus{Source: "files", Key: "RSA", NotAfter: topTime, Days: -1}),
			"- (files, RSA): ended, until 2026-11-30 12:00:10"},
		{fmt.Sprint(errorLines([]recentlog.Entry{{Time: topTime, Level: slog.LevelError, Text: "x\ny"}})),
			"[2026-11-30 12:00:10\terror\tx?y]"},
		{strings.Join(todayTexts(traffic.Day{Accepted: traffic.Count{Messages: 1, Octets: 10}, Refused: 1, Failed: 2}), "|"),
			"1 message accepted, 10 B|0 messages put into mailboxes, 0 B|0 messages taken by other servers, 0 B|" +
				"0 messages fetched by POP3, 0 B|1 refusal, 2 failed deliveries, 0 failed logins|" +
				"without those from before the start of the server"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
