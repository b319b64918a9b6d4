package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"pillarbox/mailstore/auth"
)

// serveBans puts the bans on the control socket.
func serveBans(mux *http.ServeMux, bans *auth.Bans) {
	mux.HandleFunc("GET /bans", func(w http.ResponseWriter, _ *http.Request) { answer(w, bans.List()) })
	mux.HandleFunc("GET /bans/{address}", func(w http.ResponseWriter, r *http.Request) {
		if ip, ok := pathAddress(w, r); ok {
			answer(w, bans.Why(ip))
		}
	})
	mux.HandleFunc("DELETE /bans/{address}", func(w http.ResponseWriter, r *http.Request) {
		if ip, ok := pathAddress(w, r); ok {
			lifted := bans.Lift(ip)
			if lifted {
				record(r, ip.String(), map[string]any{"banned": false})
			}
			answer(w, lifted)
		}
	})
}

// pathAddress is the address that a request is about; when there is none, the
// request has been answered.
func pathAddress(w http.ResponseWriter, r *http.Request) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(r.PathValue("address"))
	if err != nil {
		http.Error(w, "not an IP address", http.StatusBadRequest)
	}
	return ip, err == nil
}

// AskBans lists what the server of a data directory bans.
func AskBans(ctx context.Context, data string) (banned []auth.Record, err error) {
	err = ask(ctx, data, http.MethodGet, "/bans", nil, &banned)
	return banned, err
}

// AskWhy asks the server of a data directory what it knows of a client.
func AskWhy(ctx context.Context, data string, ip netip.Addr) (known auth.Record, err error) {
	err = ask(ctx, data, http.MethodGet, banPath(ip), nil, &known)
	return known, err
}

// AskLift makes the server of a data directory lift a ban, and says whether
// there was one.
func AskLift(ctx context.Context, data string, ip netip.Addr) (lifted bool, err error) {
	err = ask(ctx, data, http.MethodDelete, banPath(ip), nil, &lifted)
	return lifted, err
}

func banPath(ip netip.Addr) string { return "/bans/" + ip.WithZone("").String() }

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
