package verify

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
)

var good, stranger = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.66")

func address(t testing.TB, s string) addr.Address {
	t.Helper()
	if s == "" {
		return addr.Address{}
	}
	a, err := addr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// world is a DNS in which some domains publish records.
func world(t testing.TB) *mailtest.DNS {
	d := mailtest.NewDNS(t)
	public := base64.StdEncoding.EncodeToString(key().Public().(ed25519.PublicKey))
	for _, domain := range []string{"bank.example", "mail.bank.example", "shop.example", "free.example", "list.example", "strict.example", "sub.strict.example"} {
		d.SetTXT(domain, "unrelated", "v=spf1 ip4:192.0.2.1 -all")
		d.SetTXT("sel._domainkey."+domain, "v=DKIM1; k=ed25519; p="+public)
	}
	d.SetTXT("_dmarc.bank.example", "v=DMARC1; p=reject; sp=quarantine")
	d.SetTXT("_dmarc.shop.example", "v=DMARC1; p=quarantine; pct=50")
	d.SetTXT("_dmarc.strict.example", "v=DMARC1; p=reject; adkim=s; aspf=s; pct=0")
	d.SetTXT("_dmarc.broken.example", "v=DMARC1; p=perhaps")
	return d
}

func key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) }

func signed(t testing.TB, domain, text string) string {
	t.Helper()
	var b bytes.Buffer
	err := dkim.Sign(&b, strings.NewReader(text), &dkim.SignOptions{
		Domain: domain, Selector: "sel", Signer: key(), HeaderKeys: []string{"From", "Subject"}, HeaderCanonicalization: "relaxed", BodyCanonicalization: "relaxed",
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func plain(from string) string { return "From: " + from + "\r\nSubject: x\r\n\r\nHello\r\n" }

// short returns the results for comparison: the values of SPF, of each signature and of DMARC, with
// the disposition.
func short(r Results) string {
	s := fmt.Sprintf("spf %s,", r.SPF.Value)
	for _, d := range r.DKIM {
		s += fmt.Sprintf(" dkim %s,", d.Value)
	}
	return s + fmt.Sprintf(" dmarc %s %s", r.DMARC.Value, r.DMARC.Disposition)
}

func TestVerify(t *testing.T) {
	dns := world(t)
	v := New(Options{Servers: []string{dns.Addr()}})
	at := func(domain string) string { return signed(t, domain, plain("a@"+domain)) }
	for name, tt := range map[string]struct {
		ip         netip.Addr
		helo, from string
		author     string // domains in From, separated by spaces
		message    string
		want       string
	}{
		"all is well":             {good, "mail.bank.example", "a@bank.example", "a@bank.example", at("bank.example"), "spf pass, dkim pass, dmarc pass none"},
		"SPF alone":               {good, "x", "a@bank.example", "a@bank.example", plain("a@bank.example"), "spf pass, dmarc pass none"},
		"mapped address":          {netip.AddrFrom16(good.As16()), "x", "a@bank.example", "a@bank.example", plain("a@bank.example"), "spf pass, dmarc pass none"},
		"forwarded":               {stranger, "x", "a@bank.example", "a@bank.example", at("bank.example"), "spf fail, dkim pass, dmarc pass none"},
		"spoofed":                 {stranger, "x", "a@bank.example", "a@bank.example", plain("a@bank.example"), "spf fail, dmarc fail reject"},
		"own envelope":            {good, "x", "a@free.example", "a@bank.example", plain("a@bank.example"), "spf pass, dmarc fail reject"},
		"own signature":           {good, "x", "a@free.example", "a@bank.example", at("free.example"), "spf pass, dkim pass, dmarc fail reject"},
		"body changed":            {stranger, "x", "a@bank.example", "a@bank.example", at("bank.example") + "more\r\n", "spf fail, dkim fail, dmarc fail reject"},
		"subdomain asks for less": {stranger, "x", "a@sub.bank.example", "a@sub.bank.example", plain("a@sub.bank.example"), "spf none, dmarc fail quarantine"},
		"relaxed alignment":       {good, "x", "a@mail.bank.example", "a@bank.example", plain("a@bank.example"), "spf pass, dmarc pass none"},
		"percentage":              {stranger, "x", "a@shop.example", "a@shop.example", plain("a@shop.example"), "spf fail, dmarc fail quarantine"},
		"on trial":                {stranger, "x", "a@strict.example", "a@strict.example", plain("a@strict.example"), "spf fail, dmarc fail quarantine"},
		"no policy":               {stranger, "x", "a@free.example", "a@free.example", plain("a@free.example"), "spf fail, dmarc none none"},
		"broken policy":           {stranger, "x", "a@broken.example", "a@broken.example", plain("a@broken.example"), "spf none, dmarc permerror none"},
		"nothing published":       {stranger, "pc12", "a@nowhere.example", "a@nowhere.example", plain("a@nowhere.example"), "spf none, dmarc none none"},
		"report":                  {good, "bank.example", "", "postmaster@bank.example", plain("postmaster@bank.example"), "spf pass, dmarc pass none"},
		"report, wrong HELO":      {stranger, "bank.example", "", "postmaster@bank.example", plain("postmaster@bank.example"), "spf fail, dmarc fail reject"},
		"report, short HELO":      {good, "pc12", "", "postmaster@bank.example", plain("postmaster@bank.example"), "spf none, dmarc fail reject"},
		"literals":                {good, "[192.0.2.1]", "a@[192.0.2.1]", "a@[192.0.2.1]", plain("a@[192.0.2.1]"), "spf none, dmarc none none"},
		"two authors, one bad":    {good, "x", "a@free.example", "a@free.example b@bank.example", plain("a@free.example"), "spf pass, dmarc fail reject"},
		"same author often":       {good, "x", "a@free.example", "a@free.example b@free.example c@free.example d@free.example", plain("a@free.example"), "spf pass, dmarc none none"},
		"strict alignment":        {good, "x", "a@sub.strict.example", "a@strict.example", plain("a@strict.example"), "spf pass, dmarc fail quarantine"},
		"strict, and aligned":     {good, "x", "a@strict.example", "a@strict.example", plain("a@strict.example"), "spf pass, dmarc pass none"},
		"no author":               {good, "x", "a@free.example", "", plain(""), "spf pass, dmarc none none"},
		"many authors":            {good, "x", "a@free.example", "a@a.example b@b.example c@c.example d@d.example", plain(""), "spf pass, dmarc permerror none"},
		"key is not there":        {good, "x", "a@free.example", "a@free.example", strings.Replace(at("free.example"), "s=sel", "s=gone", 1), "spf pass, dkim permerror, dmarc none none"},
		"address in a local part": {good, "x", `"a@free.example"@bank.example`, "a@bank.example", plain("a@bank.example"), "spf pass, dmarc pass none"},
		"two signatures":          {stranger, "x", "a@list.example", "a@bank.example", signed(t, "list.example", at("bank.example")), "spf fail, dkim pass, dkim pass, dmarc pass none"},
	} {
		f := Facts{IP: tt.ip, Helo: tt.helo, From: address(t, tt.from), Message: strings.NewReader(tt.message)}
		for author := range strings.FieldsSeq(tt.author) {
			f.HeaderFrom = append(f.HeaderFrom, address(t, author))
		}
		if got := short(v.Verify(t.Context(), f)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	for _, name := range []string{"pc12", "x", "[192.0.2.1]"} {
		if n := dns.Asked(name, "TXT"); n > 0 {
			t.Errorf("asked %d times for %s", n, name)
		}
	}
}

func spoof(t testing.TB) Facts {
	return Facts{
		IP: stranger, Helo: "mail.bank.example", From: address(t, "a@bank.example"), HeaderFrom: []addr.Address{address(t, "a@bank.example")},
		Message: strings.NewReader(signed(t, "bank.example", plain("a@bank.example"))),
	}
}

// No failure of DNS leads to a refusal.
func TestFailingDNS(t *testing.T) {
	for how, want := range map[mailtest.DNSFailure]string{
		mailtest.DNSServFail: "spf temperror, dkim temperror, dmarc temperror none",
		mailtest.DNSRefused:  "spf temperror, dkim temperror, dmarc temperror none",
		mailtest.DNSNXDomain: "spf none, dkim permerror, dmarc none none",
	} {
		d := world(t)
		d.Fail(how, "")
		r := New(Options{Servers: []string{d.Addr()}}).Verify(t.Context(), spoof(t))
		if got := short(r); got != want || Decide(Settings{Reject, Mark, Reject}, r) != nil {
			t.Errorf("%d: %s", how, got)
		}
	}
	d := world(t)
	d.Fail(mailtest.DNSServFail, "bank.example")
	f := spoof(t)
	f.Message = nil
	if got := short(New(Options{Servers: []string{d.Addr()}}).Verify(t.Context(), f)); got != "spf temperror, dmarc temperror none" {
		t.Error(got)
	}
	d = world(t)
	d.Fail(mailtest.DNSServFail, "sel._domainkey.bank.example")
	if got := short(New(Options{Servers: []string{d.Addr()}}).Verify(t.Context(), spoof(t))); got != "spf fail, dkim temperror, dmarc temperror none" {
		t.Error(got)
	}
}

// fake is a scripted DNS in virtual time.
type fake func(ctx context.Context, name string) ([]string, error)

func (f fake) LookupTXT(ctx context.Context, name string) ([]string, error) { return f(ctx, name) }
func (f fake) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	found, err := f(ctx, name)
	var hosts []*net.MX
	for _, host := range found {
		hosts = append(hosts, &net.MX{Host: host})
	}
	return hosts, err
}
func (f fake) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	_, err := f(ctx, name)
	return nil, err
}
func (f fake) LookupAddr(ctx context.Context, ip string) ([]string, error) { return f(ctx, ip) }

// A site without an internet connection does not wait, nor does one without a name server.
func TestNoDNS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	begin := time.Now()
	r := New(Options{Servers: []string{l.Addr().String()}}).Verify(t.Context(), spoof(t))
	if got := short(r); got != "spf temperror, dkim temperror, dmarc temperror none" || time.Since(begin) > 2*time.Second {
		t.Errorf("%s after %v", got, time.Since(begin))
	}
}

func TestSecondServer(t *testing.T) {
	d, dead := world(t), world(t)
	dead.Fail(mailtest.DNSServFail, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	v := New(Options{Servers: []string{l.Addr().String(), d.Addr()}})
	if got := short(v.Verify(t.Context(), spoof(t))); got != "spf fail, dkim pass, dmarc pass none" {
		t.Error(got)
	}
}

func TestLimits(t *testing.T) {
	v := New(Options{Servers: []string{world(t).Addr()}})
	one := signed(t, "bank.example", plain("a@bank.example"))
	field := one[:len(one)-len(plain("a@bank.example"))]
	for name, tt := range map[string]struct {
		message string
		want    string // of DKIM
		reason  string
	}{
		"six signatures":     {strings.Repeat(field, 6) + plain("a@bank.example"), "pass pass pass pass pass", ""},
		"unsigned":           {plain("a@bank.example"), "", ""},
		"header only":        {"From: a@bank.example\r\n", "", ""},
		"empty":              {"", "", ""},
		"signed header only": {strings.TrimSuffix(signed(t, "bank.example", "From: x\r\n\r\n"), "\r\n"), "pass", ""},
		"large header":       {one[:len(field)] + "X: " + strings.Repeat("x", maxHeader) + "\r\n\r\n", "policy", "header too large"},
		"many lines":         {field + strings.Repeat("X:\r\n", maxLines) + "\r\n\r\n", "policy", "header too large"},
		"large, unsigned":    {"X: " + strings.Repeat("x", maxHeader) + "\r\n\r\n", "", ""},
		"large signature":    {"DKIM-Signature: " + strings.Repeat("x", maxSignature) + "\r\n\r\n", "policy", "signature too large"},
		"many names":         {"dkim-signature : h=" + strings.Repeat("a:", maxNamed+1) + "a\r\n\r\n", "policy", "signature too large"},
		"white space":        {one + strings.Repeat("\r\n", 20<<20) + "x", "policy", "too much white space"},
		"spaces":             {one + strings.Repeat(" \r\n", 1<<20) + "x", "policy", "too much white space"},
		"nonsense":           {"DKIM-Signature: x\r\n\r\n", "permerror", "malformed signature tags"},
		"bad domain":         {"DKIM-Signature: v=1; a=rsa-sha256; d=\"x\ty\x00; s=a\xff; h=from; b=A; bh=A\r\n\r\n", "permerror", "no key for signature"},
	} {
		f := Facts{IP: good, Helo: "x", From: address(t, "a@bank.example"), HeaderFrom: []addr.Address{address(t, "a@bank.example")}, Message: strings.NewReader(tt.message)}
		begin := time.Now()
		r := v.Verify(t.Context(), f)
		var got []string
		reason := ""
		for _, d := range r.DKIM {
			got = append(got, string(d.Value))
			reason = d.Reason
		}
		if strings.Join(got, " ") != tt.want || reason != tt.reason {
			t.Errorf("%s: %s %q", name, got, reason)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func TestBrokenMessage(t *testing.T) {
	v := New(Options{Servers: []string{world(t).Addr()}})
	one := signed(t, "bank.example", plain("a@bank.example"))
	for _, text := range []string{"", one[:20], one[:len(one)-3], signed(t, "list.example", one)[:2*len(one)-80]} {
		f := spoof(t)
		f.Message = io.MultiReader(strings.NewReader(text), iotest.ErrReader(errors.New("broken disk")))
		r := v.Verify(t.Context(), f)
		for _, d := range r.DKIM {
			if d.Value != TempError || d.Reason != "message not readable" {
				t.Errorf("%d octets: %+v", len(text), d)
			}
		}
		if len(r.DKIM) == 0 || r.DMARC.Value != TempError {
			t.Errorf("%d octets: %s", len(text), short(r))
		}
	}
}

// A sender's records cannot cause an unlimited number of lookups.
func TestQueries(t *testing.T) {
	asked := make(chan string, 10000)
	dns := fake(func(_ context.Context, name string) ([]string, error) {
		asked <- name
		if strings.HasPrefix(name, "_") {
			return nil, &net.DNSError{IsNotFound: true}
		}
		if strings.HasPrefix(name, "mx") {
			return []string{"1.example.", "2.example.", "3.example.", "4.example.", "5.example.", "6.example.", "7.example."}, nil
		}
		return []string{"v=spf1 mx:mx1.example mx:mx2.example mx:mx3.example mx:mx4.example mx:mx5.example mx:mx6.example mx:mx7.example mx:mx8.example -all"}, nil
	})
	r := New(Options{Resolver: dns, Queries: 20}).Verify(t.Context(), Facts{IP: good, Helo: "a.example", From: address(t, "a@b.example"), HeaderFrom: []addr.Address{address(t, "a@b.example")}})
	if len(asked) != 20 || r.SPF.Value != PermError {
		t.Errorf("%d questions, %s", len(asked), short(r))
	}
	for range len(asked) {
		if name := <-asked; !strings.HasSuffix(name, ".") {
			t.Errorf("asked for %q, which the search list of the system would change", name)
		}
	}
}

// panicking is a DNS whose answers cause a panic.
type panicking struct{ Resolver }

func (panicking) LookupTXT(context.Context, string) ([]string, error) { panic("what is this record?") }
func (panicking) LookupMX(context.Context, string) ([]*net.MX, error) { panic("what is this record?") }
func (panicking) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) {
	panic("what is this record?")
}
func (panicking) LookupAddr(context.Context, string) ([]string, error) { panic("what is this record?") }

// reads is a message that panics when read.
type reads struct{}

func (reads) Read([]byte) (int, error) { panic("what is this header?") }

// A panic in a part of the verification is not a verdict, in any of its goroutines.
func TestPanicIsContained(t *testing.T) {
	var log bytes.Buffer
	v := New(Options{Resolver: panicking{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for name, message := range map[string]io.Reader{
		"record": strings.NewReader(signed(t, "bank.example", plain("a@bank.example"))),
		"header": reads{},
	} {
		r := v.Verify(t.Context(), Facts{
			IP: good, Helo: "x.example", From: address(t, "a@bank.example"), HeaderFrom: []addr.Address{address(t, "a@bank.example")}, Message: message,
		})
		for _, value := range []Value{r.SPF.Value, r.DKIM[0].Value, r.DMARC.Value} {
			if value != TempError && value != None {
				t.Errorf("%s: %s", name, short(r))
			}
		}
		if Decide(Settings{SPF: Reject, DKIM: Reject, DMARC: Reject}, r) != nil {
			t.Errorf("%s: it is refused: %s", name, short(r))
		}
	}
	if !strings.Contains(log.String(), "verify_test.go") {
		t.Error(log.String())
	}
}
