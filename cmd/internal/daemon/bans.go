package daemon

import (
	"fmt"
	"net/netip"
	"time"

	"pillarbox/mailstore/auth"
)

// refuseSMTP and refusePOP3 are what a banned client reads instead of a greeting.

func refuseSMTP(hostname string, until time.Time) string {
	return fmt.Sprintf("554 5.7.1 %s Too many wrong passwords came from your address: banned until %s\r\n", hostname, shortTime(until))
}

func refusePOP3(until time.Time) string {
	return fmt.Sprintf("-ERR [SYS/TEMP] too many wrong passwords came from your address: banned until %s\r\n", shortTime(until))
}

func shortTime(t time.Time) string { return t.Format("2006-01-02 15:04:05 -0700") }

// banScreen is a connlimit.Screen that turns banned clients away with words of the
// service; nil words hang up, for ports where TLS comes first.
func banScreen(bans *auth.Bans, words func(until time.Time) string) func(netip.Addr) (string, bool) {
	return func(ip netip.Addr) (string, bool) {
		until, banned := bans.Until(ip)
		if !banned || words == nil {
			return "", banned
		}
		return words(until), true
	}
}
