package admin

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"pillarbox/mailstore/auth"
)

func TestBans(t *testing.T) {
	o := office(t)
	if _, err := BansList.Do(t.Context(), o, struct{}{}); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
	o.Running = &Running{Bans: auth.NewBans(auth.BanOptions{After: 3}, slog.New(slog.DiscardHandler))}
	if banned, err := BansList.Do(t.Context(), o, struct{}{}); err != nil || banned == nil || len(banned) != 0 {
		t.Errorf("%v %v", banned, err)
	}
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::/64", "2001:db8::1": "2001:db8::/64",
		"2001:db8::/64": "2001:db8::/64",
	} {
		known, err := BansWhy.Do(t.Context(), o, ip)
		if err != nil || known.Address != want || known.Limit != 3 || known.Banned() {
			t.Errorf("%s: %+v %v", ip, known, err)
		}
		if _, err := BansLift.Do(t.Context(), o, ip); err == nil || !strings.Contains(err.Error(), ip+" is not banned") {
			t.Errorf("%s: %v", ip, err)
		}
	}
	for _, text := range []string{"", "192.0.2", "192.0.2.0/24", "somebody"} {
		if _, err := BansWhy.Do(t.Context(), o, text); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
