package pop3

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"pillarbox/mailstore/track"
)

// The event of TLS follows that of the connection, after STLS and with implicit TLS, and has version
// and cipher suite.
func TestTLSEvent(t *testing.T) {
	for _, test := range []struct {
		name           string
		stls, implicit bool
		trusted        bool // by the client
		want           string
	}{
		{"without TLS", false, false, true, "connected, disconnected"},
		{"STLS", true, false, true, "connected, tls, disconnected"},
		{"implicit", false, true, true, "connected, tls, disconnected"},
		{"STLS fails", true, false, false, "connected, disconnected"},
		{"implicit fails", false, true, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOffice(t)
			var kinds []string // after Shutdown
			var text string
			log := track.Open(o.disk, track.Options{Discard: true}, o.logger(), func(e *track.Event) {
				kinds = append(kinds, e.Kind.String())
				if e.Kind == track.Secured {
					text = e.Text
				}
			})
			defer log.Close()
			server := o.newServer(func(c *Config) { c.Track = log })
			conn, err := net.Dial("tcp", o.listen(server, test.implicit))
			o.must(err)
			defer conn.Close()
			if test.stls {
				talk(t, conn, bufio.NewReader(conn), "", "STLS") // after the greeting
			}
			if test.stls || test.implicit {
				client := clientTLS()
				if !test.trusted {
					client = &tls.Config{ServerName: "elsewhere.example"}
				}
				secure := tls.Client(conn, client)
				if err := secure.Handshake(); (err == nil) != test.trusted {
					t.Fatalf("handshake: %v", err)
				}
				conn = secure
			}
			in := bufio.NewReader(conn)
			if test.trusted && !test.stls {
				talk(t, conn, in, "") // the greeting
			}
			if test.trusted {
				talk(t, conn, in, "QUIT")
			}
			conn.Close()
			server.Shutdown(t.Context())
			if got := strings.Join(kinds, ", "); got != test.want {
				t.Errorf("events: %s; want %s", got, test.want)
			}
			if text != "" && !strings.HasPrefix(text, "TLS 1.3 TLS_AES_") {
				t.Errorf("the text is %q", text)
			}
		})
	}
}
