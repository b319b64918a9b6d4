//go:build e2e

package e2e

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	providerHost     = "smtp.isp.example"
	providerUser     = "office"
	providerPassword = "Korrekt.Horse+isp4"
)

// newProvider starts Postfix as a smart host. It relays over TLS for clients that have logged in,
// on one port for each mechanism.
func newProvider(t *testing.T, mechanisms ...string) (p *postfix, ports map[string]string, ca string) {
	t.Helper()
	needs(t, "saslpasswd2")
	p = makePostfix(t)
	certificate(t, p.dir, providerHost)
	ports = make(map[string]string)
	var services []string
	for _, mechanism := range mechanisms {
		ports[mechanism] = freePort(t)
		services = append(services, "127.0.0.1:"+ports[mechanism]+" inet n - n - - smtpd -o smtpd_sasl_path="+mechanism+"\n")
		// Debian's Postfix finds these files only there.
		p.write(t, "sasl/"+mechanism+".conf", "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: "+p.dir+"/sasldb\nmech_list: "+mechanism+"\n")
	}
	cmd := exec.Command("saslpasswd2", "-p", "-c", "-f", p.dir+"/sasldb", "-u", "isp.example", providerUser)
	cmd.Stdin = strings.NewReader(providerPassword)
	mustRun(t, cmd)
	if err := os.Chmod(p.dir+"/sasldb", 0o644); err != nil { // the process that checks the password is not root
		t.Fatal(err)
	}
	p.start(t, `smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = DIR/cert.pem
smtpd_tls_key_file = DIR/key.pem
smtpd_tls_received_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = isp.example
smtpd_sasl_authenticated_header = yes
smtpd_sasl_security_options = noanonymous
smtpd_client_restrictions = permit_sasl_authenticated, reject
`, services...)
	for _, port := range ports {
		listening(t, port)
	}
	return p, ports, filepath.Join(p.dir, "ca.pem")
}

// TestOutboundSmartHost sends all mail to Postfix, with a verified certificate and a login by each
// mechanism. The message must arrive unchanged.
func TestOutboundSmartHost(t *testing.T) {
	mechanisms := []string{"PLAIN", "LOGIN", "CRAM-MD5"}
	p, ports, ca := newProvider(t, mechanisms...)
	o, dns := sendingOffice(t)
	dns.SetAddrs(providerHost, netip.MustParseAddr("127.0.0.1"))
	password := o.write(t, "password", providerPassword+"\n")
	for _, mechanism := range mechanisms {
		o.route(t, `domains = ["`+mechanism+`.example"]`, `smart_host = ["`+providerHost+`:`+ports[mechanism]+`"]`, `tls = "verified"`,
			`user = "`+providerUser+`"`, `password_file = "`+password+`"`)
	}
	s := o.serve(t, "env", "SSL_CERT_FILE="+ca)
	for i, mechanism := range mechanisms {
		sent := letter("by smart host with " + mechanism)
		o.submit(t, sent, "bob@"+mechanism+".example")
		stored := p.wantMail(t, i+1)[i]
		wantLetter(t, stored, sent)
		if !strings.Contains(stored, "(using TLSv1.3 ") || !strings.Contains(stored, "(Authenticated sender: "+providerUser+"@isp.example)") {
			t.Errorf("TLS or the log-in is missing:\n%s", stored)
		}
		if !strings.Contains(p.log(t), "sasl_method="+mechanism+", ") {
			t.Errorf("Postfix saw no log-in by %s", mechanism)
		}
	}
	o.wantQueueEmpty(t)
	if strings.Contains(s.log.String(), providerPassword) {
		t.Error("the password is in the log")
	}
}

// TestOutboundSmartHostRefused checks that mail waits, and no password is sent, if the certificate
// has an unknown CA or another name. Mail also waits if the password is wrong; the queue then shows
// Postfix's reply.
func TestOutboundSmartHostRefused(t *testing.T) {
	p, ports, ca := newProvider(t, "PLAIN")
	tests := []struct {
		name, host, ca, password string
		want                     []string // words in the queue
	}{
		{"unknown CA", providerHost, "", providerPassword, []string{"4.7.", "certificate"}},
		{"other name", "other.isp.example", ca, providerPassword, []string{"4.7.", "certificate"}},
		{"wrong password", providerHost, ca, wrongPassword, []string{"535 5.7.8", "authentication failed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, dns := sendingOffice(t)
			dns.SetAddrs(tt.host, netip.MustParseAddr("127.0.0.1"))
			o.set(t, "outbound", "smart_host", `["`+tt.host+`:`+ports["PLAIN"]+`"]`)
			o.set(t, "outbound", "tls", `"verified"`)
			o.set(t, "outbound", "user", `"`+providerUser+`"`)
			o.set(t, "outbound", "password_file", `"`+o.write(t, "password", tt.password)+`"`)
			if tt.ca == "" {
				tt.ca = foreignCA(t, o)
			}
			s := o.serve(t, "env", "SSL_CERT_FILE="+tt.ca)
			s.errors = []string{"cannot log in"}
			words, _ := o.wantDeferred(t, o.submit(t, letter("refused"), "bob@partner.example"))
			for _, want := range tt.want {
				if !strings.Contains(words, want) {
					t.Errorf("the queue says %q, want %q in it", words, want)
				}
			}
		})
	}
	if n := len(p.mail(t)); n > 0 {
		t.Errorf("%d messages arrived", n)
	}
}
