//go:build e2e

package e2e

import (
	"net/netip"
	"strings"
	"testing"
)

// TestOutboundNTLM logs in to a smart host that offers only NTLM: Postfix with Cyrus SASL.
func TestOutboundNTLM(t *testing.T) {
	p, ports, ca := newProvider(t, "NTLM")
	o, dns := sendingOffice(t)
	dns.SetAddrs(providerHost, netip.MustParseAddr("127.0.0.1"))
	for i, user := range []string{providerUser, `ISP\` + providerUser} {
		o.route(t, `domains = ["`+string('a'+rune(i))+`.example"]`, `smart_host = ["`+providerHost+`:`+ports["NTLM"]+`"]`, `tls = "verified"`,
			`user = '`+user+`'`, `password_file = "`+o.write(t, "password", providerPassword+"\n")+`"`)
	}
	s := o.serve(t, "env", "SSL_CERT_FILE="+ca)
	for i := range 2 {
		sent := letter("by NTLM")
		o.submit(t, sent, "bob@"+string('a'+rune(i))+".example")
		stored := p.wantMail(t, i+1)[i]
		wantLetter(t, stored, sent)
		if !strings.Contains(stored, "(Authenticated sender: "+providerUser) {
			t.Errorf("no log-in:\n%s", stored)
		}
	}
	o.wantQueueEmpty(t)
	for _, secret := range secretsOf(providerPassword) {
		if strings.Contains(s.log.String(), secret) {
			t.Error("the password is in the log")
		}
	}
	if !strings.Contains(p.log(t), "sasl_method=NTLM, ") {
		t.Error("Postfix saw no log-in by NTLM")
	}
}
