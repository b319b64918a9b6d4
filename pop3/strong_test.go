package pop3

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"testing"
)

// A login over a cipher below 128 bits is refused only if the configuration requires more.
func TestStrongCiphers(t *testing.T) {
	weak := []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}
	good := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	for _, test := range []struct {
		name             string
		suites           []uint16
		strong, implicit bool // required
		over995          bool
		may              bool
	}{
		{"weak, nothing demanded", weak, false, false, false, true},
		{"weak, demanded", weak, true, false, false, false},
		{"weak, demanded elsewhere", weak, false, true, false, true},
		{"weak, implicit, demanded", weak, false, true, true, false},
		{"weak, implicit, demanded elsewhere", weak, true, false, true, true},
		{"good", good, true, true, false, true},
		{"good, implicit", good, true, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOffice(t)
			o.addMailbox("anna", "tanstaaf", false)
			address := o.listen(o.newServer(func(c *Config) {
				c.Require128Bit, c.Require128BitImplicit = test.strong, test.implicit
				c.TLS = c.TLS.Clone()
				c.TLS.CipherSuites = append(append([]uint16{}, weak...), good...)
			}), test.over995)
			conn, err := net.Dial("tcp", address)
			o.must(err)
			defer conn.Close()
			if !test.over995 {
				in := bufio.NewReader(conn)
				talk(t, conn, in, "", "STLS") // after the greeting
			}
			client := clientTLS()
			client.MaxVersion, client.CipherSuites = tls.VersionTLS12, test.suites
			secure := tls.Client(conn, client)
			o.must(secure.Handshake())
			l := &line{t, secure, bufio.NewReader(secure)}
			if test.over995 {
				l.read()
			}
			if got := l.say("USER anna"); strings.HasPrefix(got, "+OK") != test.may || !test.may && !strings.Contains(got, "128 bits") {
				t.Errorf("got %q", got)
			}
			offered := false
			for l.want("CAPA", "+OK"); ; {
				capability := l.read()
				if capability == "." {
					break
				}
				offered = offered || capability == "USER" || strings.HasPrefix(capability, "SASL")
			}
			if offered != test.may {
				t.Errorf("logging in is offered: %v", offered)
			}
		})
	}
}
