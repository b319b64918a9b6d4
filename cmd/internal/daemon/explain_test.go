package daemon

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
	"pillarbox/tls/certs"
)

// What "admin explain" says is what the server does: random configurations,
// random clients that drive a running server, the same questions asked of
// Explain.
func TestExplainAgreesWithTheServer(t *testing.T) {
	const configs, clients = 30, 100
	random := rand.New(rand.NewPCG(2003, 6))
	verdicts := map[string]int{}
	certificate := t.TempDir() // one for all: making keys takes long
	if _, err := certs.Ensure(certificate, []string{"mail.office.example"}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	for range configs {
		o := startOffice(t, randomConfig(random), certificate)
		for range clients {
			q := randomQuestion(random)
			want := o.explain(t, q)
			if got := o.live(t, q); got != want {
				t.Fatalf("%+v\nthe server says  %s\nexplain says     %s\n%s", q, got, want, o.text)
			}
			verdicts[want[:3]]++
		}
		o.stop()
	}
	t.Log(verdicts)
	for _, code := range []string{"250", "530", "550", "553", "554"} {
		if verdicts[code] < 20 {
			t.Errorf("%s came up only %d times: the questions are not random enough", code, verdicts[code])
		}
	}
}

// pick is one of several, at random.
func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomConfig sets what decisions look at. Clients come from 127.0.0.1 to .8.
func randomConfig(r *rand.Rand) string {
	hosts := func() string {
		return pick(r, `[]`, `[]`, `["127.0.0.2"]`, `["[127.0.0.3-5]", "127.0.0.7"]`, `["127.0.0.0/30"]`, `["group:some"]`, `["127.0.0.6 255.255.255.254"]`)
	}
	addresses := func() string {
		return pick(r, `[]`, `[]`, `[]`, `["remote.example"]`, `["anna@office.example", "*.partner.example"]`, `["@else.example", "<>"]`, `["group:people"]`)
	}
	on := func() string { return pick(r, "true", "false") }
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	set("hostname", `"mail.office.example"`)
	set("default_domain", `"office.example"`)
	for _, service := range []string{"smtp", "submission"} {
		set("listen."+service, `["127.0.0.1:0"]`)
	}
	for _, service := range []string{"smtps", "pop3", "pop3s"} {
		set("listen."+service, `[]`)
	}
	set("auth.plaintext_networks", `["127.0.0.0/8"]`)
	set("limits.connections_per_address", "1000")
	set("limits.connections_per_account", "1000")
	set("smtp.max_errors", "1000")
	set("groups.some", `["127.0.0.8", "[127.0.0.1-2]"]`)
	set("groups.people", `["boss@office.example", "else.example"]`)
	if r.IntN(4) == 0 {
		set("connections.mode", pick(r, `"only"`, `"all_except"`))
		set("connections.allow", hosts())
	}
	if r.IntN(4) == 0 {
		set("connections.deny", hosts())
	}
	set("sites.smtp.anonymous", on())
	set("anonymous.exceptions", hosts())
	set("anonymous.allow_exceptions", on())
	set("relay.i_know_this_is_an_open_relay", "true")
	set("relay.enforcement", pick(r, `"external"`, `"all"`, `"none"`, `"external"`))
	set("relay.authenticated", pick(r, `"allow"`, `"check"`))
	for _, list := range []string{"exclude_hosts", "allow_hosts"} {
		set("relay."+list, hosts())
	}
	set("relay.deny_hosts", pick(r, `["*"]`, hosts()))
	for _, list := range []string{"allow_domains", "deny_domains", "override_domains"} {
		set("relay."+list, addresses())
	}
	set("relay.deny_wins", on())
	set("relay.refusal", pick(r, `"unable"`, `"rejected"`))
	if r.IntN(3) == 0 {
		set("senders.allow", addresses())
		set("senders.deny", addresses())
		set("recipients.deny", addresses())
	}
	set("senders.verify_user", pick(r, `"both"`, `"header"`, `"envelope"`, `"off"`))
	set("senders.refuse_forged", on())
	set("senders.trusted_hosts", hosts())
	set("outside.send", on())
	set("outside.receive", pick(r, "true", "true", "false"))
	set("outside.accept_from", addresses())
	set("outside.reject_from", addresses())
	set("outside.per_hour", "0")
	set("outbound.windows", `["never"]`)
	return b.String()
}

func randomQuestion(r *rand.Rand) admin.Question {
	q := admin.Question{
		IP:      netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + r.IntN(8))}),
		Service: pick(r, smtp.MTA, smtp.MTA, smtp.Submission),
		User:    pick(r, "", "", "anna@office.example", "boss@office.example"),
		From: pick(r, "anna@office.example", "anna@office.example", "boss@office.example", "info@office.example", "anna+x@office.example",
			"x@else.example", "x@sub.partner.example", "<>"),
		To: pick(r, "boss@office.example", "anna@office.example", "nobody@office.example", "staff@office.example", "postmaster@office.example",
			"x@remote.example", "x@else.example", "y@sub.partner.example"),
	}
	if q.From != "<>" && r.IntN(3) == 0 {
		q.HeaderFrom = pick(r, "anna@office.example", "boss@office.example", "x@else.example")
	}
	return q
}

// liveOffice is a running server with its configuration.
type liveOffice struct {
	*admin.Service
	text   string
	listen map[string][]string
	stop   func()
}

func startOffice(t *testing.T, text, certificate string) *liveOffice {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "pillarbox.toml")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	must(os.WriteFile(file, []byte(text), 0o600))
	must(os.Mkdir(filepath.Join(dir, "data"), 0o700))
	load := func() (*config.Config, error) { return config.Load(file, nil) }
	cfg, err := load()
	must(err)
	must(os.CopyFS(cfg.Certs().Dir, os.DirFS(certificate)))
	o := &liveOffice{text: text}
	o.Service, err = admin.Open(cfg, nil)
	must(err)
	must(o.furnish())
	d, err := Start(load, io.Discard)
	must(err)
	o.listen = d.Addresses()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, nil) }()
	o.stop = func() {
		cancel()
		must(<-done)
		o.Close()
	}
	return o
}

const livePassword = "correct horse"

func (o *liveOffice) furnish() error {
	if err := o.Dir.AddDomain("office.example"); err != nil {
		return err
	}
	verifier, err := auth.HashPassword(livePassword)
	if err != nil {
		return err
	}
	at := func(local string) addr.Address { return addr.Address{Local: local, Domain: "office.example"} }
	for _, user := range []string{"anna", "boss"} {
		if _, err := o.Dir.AddMailbox(at(user), directory.Account{Verifier: verifier}); err != nil {
			return err
		}
	}
	if err := o.Dir.AddAlias(at("info"), at("anna")); err != nil {
		return err
	}
	if err := o.Dir.AddGroup(at("staff"), []addr.Address{at("boss")}); err != nil {
		return err
	}
	err = o.Dir.UpdateDomain("office.example", func(f *directory.DomainFile) error {
		g := f.Groups["staff"]
		g.Accept = "members"
		f.Groups["staff"] = g
		return nil
	})
	if err != nil {
		return err
	}
	for i, outside := range []bool{true, false} {
		ip := netip.AddrFrom4([4]byte{127, 0, 0, byte(7 + i)})
		device := policy.Device{Name: fmt.Sprint("device", i), Networks: []netip.Prefix{netip.PrefixFrom(ip, 32)}, Outside: outside}
		if i == 0 {
			device.As = at("anna")
		}
		if err := o.Devices.Add(device); err != nil {
			return err
		}
	}
	return nil
}

// explain is the reply that Explain foretells.
func (o *liveOffice) explain(t *testing.T, q admin.Question) string {
	t.Helper()
	e, err := o.Explain(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	last := e.Decisions[len(e.Decisions)-1]
	if last.Reply != nil {
		return last.Reply.Error()
	}
	return "250 2.6.0"
}

var traceID = regexp.MustCompile(` \[[A-Z2-7]{6}\]$`)

// live is the reply that ends the attempt at a running server.
func (o *liveOffice) live(t *testing.T, q admin.Question) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: q.IP.AsSlice()}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", o.listen[q.Service.String()][0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	said := []string{"", "EHLO client"}
	if q.User != "" {
		said = append(said, "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+q.User+"\x00"+livePassword)))
	}
	header := q.HeaderFrom
	if header == "" && q.From != "<>" {
		header = q.From
	}
	if header != "" {
		header = "From: " + header + "\r\n"
	}
	from := "<" + strings.Trim(q.From, "<>") + ">"
	said = append(said, "MAIL FROM:"+from, "RCPT TO:<"+q.To+">", "DATA", header+"\r\ntext\r\n.")
	last := ""
	for _, line := range said {
		if line != "" {
			fmt.Fprintf(c, "%s\r\n", line)
		}
		for last = "250-"; len(last) > 3 && last[3] == '-'; {
			if last, err = r.ReadString('\n'); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		if last[0] > '3' {
			break
		}
	}
	last = traceID.ReplaceAllString(strings.TrimRight(last, "\r\n"), "")
	if strings.HasPrefix(last, "250 2.6.0 ") {
		return last[:9]
	}
	return last
}
