package track

import (
	"net/netip"
	"testing"
)

// TestConsoleLines compares the lines with those that IBM's article on SMTP authentication shows.
func TestConsoleLines(t *testing.T) {
	host := netip.MustParseAddr("10.10.1.8")
	for _, tt := range []struct {
		e    Event
		want string
	}{
		{Event{Kind: Connected, Service: "smtp", Remote: host}, "SMTP Server: 10.10.1.8 connected"},
		{Event{Kind: LoggedIn, Service: "smtp", User: "John Doe/Don", Remote: host},
			"SMTP Server: Authentication succeeded for user John Doe/Don ; connecting host 10.10.1.8"},
		{Event{Kind: LoginFailed, Service: "submission", User: "John Doe", Remote: host},
			"SMTP Server: Authentication failed for user John Doe ; connecting host 10.10.1.8"},
		{Event{Kind: Accepted, Service: "smtps", ID: "004C984C", MessageID: "000501ca0df8@T60p"},
			"SMTP Server: Message 004C984C (MessageID: <000501ca0df8@T60p>) received"},
		{Event{Kind: Disconnected, Service: "smtp", Remote: host, Count: 1}, "SMTP Server: 10.10.1.8 disconnected. 1 message[s] received"},
		{Event{Kind: Relayed, ID: "0012ABCD", Host: "HOST", To: "a@b"}, "Router: Message 0012ABCD transferred to HOST for a@b via SMTP"},
		{Event{Kind: Connected, Service: "pop3", Remote: host}, ""},
		{Event{Kind: Accepted, Service: "report"}, ""},
		{Event{Kind: Deferred, Service: "smtp"}, ""},
	} {
		if got := tt.e.ConsoleLine(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.e.Kind, got, tt.want)
		}
	}
}
