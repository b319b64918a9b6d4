package pagebench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/tls/certs"
)

const (
	password = "Korrekt.Horse+bench1"
	first    = addr.Domain("office.example")
)

const settings = `hostname = "mail.office.example"
data = "data"
dns.servers = ["127.0.0.1:1"]
[listen]
smtp = ["127.0.0.1:0"]
submission = ["127.0.0.1:0"]
smtps = []
pop3 = []
pop3s = []
web = ["%s"]
[auth]
plaintext_networks = ["127.0.0.0/8"]
[limits]
connections_per_address = 1000
[outbound]
smart_host = ["127.0.0.1:1"]
`

// office is a running server.
type office struct {
	addresses map[string][]string // by service, as in [listen]; without the page
	web       string              // the address of the page
}

// size says how large an office is.
type size struct {
	mailboxes, domains, groups, aliases, devices, queued, sessions int
}

// newOffice makes an office, starts its server, and fills the queue and the events.
func newOffice(b *testing.B, s size) *office {
	b.Helper()
	must := mustOf(b)
	file := filepath.Join(b.TempDir(), "pillarbox.toml")
	data := filepath.Join(filepath.Dir(file), "data")
	o := &office{web: freeAddress(b)}
	must(os.WriteFile(file, fmt.Appendf(nil, settings, o.web), 0o600))
	must(os.Mkdir(data, 0o700))
	_, err := certs.Ensure(filepath.Join(data, "tls"), []string{"mail.office.example"}, nil, time.Now())
	must(err)
	load := func() (*config.Config, error) { return config.Load(file, nil) }
	o.fill(b, load, s)

	d, err := daemon.Start(load, io.Discard)
	must(err)
	o.addresses = d.Addresses()
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := d.Run(ctx, nil); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		stop()
		serving.Wait()
	})
	o.queue(b, s.queued)
	for range s.sessions {
		c := dial(b, o.addresses["smtp"][0])
		b.Cleanup(func() { c.Close() })
	}
	return o
}

// freeAddress returns an address that is free now.
func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	mustOf(b)(err)
	defer l.Close()
	return l.Addr().String()
}

func mustOf(b *testing.B) func(error) {
	return func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
}

// fill writes the office's files. It does not sync each mailbox as the server would: 50,000 take
// minutes that way.
func (o *office) fill(b *testing.B, load func() (*config.Config, error), s size) {
	must := mustOf(b)
	cfg, err := load()
	must(err)
	service, err := admin.Open(cfg, nil)
	must(err)
	defer service.Close()
	var account directory.Account
	keeper := auth.NewSecretStore(auth.NewSecretKey(filepath.Join(cfg.Data, "secrets.key")), auth.Rules{})
	set, err := keeper.New(addr.Address{Local: "user", Domain: first}, account, password, time.Now())
	must(err)
	must(set(&account))
	text, err := json.Marshal(account)
	must(err)
	for i := range s.domains {
		d := first
		if i > 0 {
			d = addr.Domain(fmt.Sprintf("office%d.example", i))
		}
		must(service.Dir.AddDomain(d))
		for n := range s.mailboxes / s.domains {
			dir := filepath.Join(cfg.Data, directory.MailboxDir(user(n, d)))
			must(os.Mkdir(dir, 0o700))
			must(os.WriteFile(filepath.Join(dir, "account.json"), text, 0o600))
		}
	}
	must(service.Dir.UpdateDomain(first, func(f *directory.DomainFile) error {
		o.name(f, s)
		return nil
	}))
	_, err = service.AddOperator(admin.NewOperator{Name: user(0, first).String()})
	must(err)
	for i := range s.devices {
		_, err := service.AddDevice(admin.NewDevice{
			Name: fmt.Sprintf("scanner%d", i), MaySendTo: "local",
			IPs: []string{fmt.Sprintf("10.0.%d.%d", i/250, i%250+1)},
		})
		must(err)
	}
}

// name adds aliases and groups. One group has all mailboxes of the first domain.
func (o *office) name(f *directory.DomainFile, s size) {
	count := s.mailboxes / s.domains
	all := directory.Group{}
	for n := range count {
		all.Members = append(all.Members, user(n, first))
	}
	f.Groups["all"] = all
	for i := range s.groups {
		var g directory.Group
		for n := range 20 {
			g.Members = append(g.Members, user((i*20+n)%count, first))
		}
		f.Groups[fmt.Sprintf("group%d", i)] = g
	}
	for i := range s.aliases {
		f.Aliases[fmt.Sprintf("alias%d", i)] = user(i%count, first)
	}
}

func user(n int, d addr.Domain) addr.Address {
	return addr.Address{Local: fmt.Sprintf("user%05d", n), Domain: d}
}

// perSender is how many messages a mailbox sends: one that sends more to other servers is held.
const perSender = 50

// queue sends messages for other servers, which wait because the smart host does not answer.
func (o *office) queue(b *testing.B, count int) {
	for i := range count / perSender {
		from := user(i, first).String()
		c := o.submit(b, from)
		for range perSender {
			c.send(from, "someone@remote.example")
		}
		c.Close()
	}
}

// submit connects and logs in, to send mail.
func (o *office) submit(b *testing.B, user string) *client {
	c := dial(b, o.addresses["submission"][0])
	c.say("EHLO bench.example", "250 ")
	c.say("AUTH PLAIN "+plain(user, password), "235 ")
	return c
}

// browser is a client of the page.
type browser struct {
	*http.Client
	base string
}

var tokenField = regexp.MustCompile(`name="token" value="([^"]*)"`)

// logIn logs the operator in.
func (o *office) logIn(b *testing.B) *browser {
	b.Helper()
	jar, _ := cookiejar.New(nil)
	w := &browser{
		Client: &http.Client{
			Jar: jar,
			Transport: &http.Transport{
				TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
				MaxIdleConnsPerHost: 100,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: "https://" + o.web,
	}
	b.Cleanup(w.CloseIdleConnections)
	token := tokenField.FindStringSubmatch(w.get(b, "/login"))
	form := url.Values{
		"name": {user(0, first).String()}, "password": {password}, "token": {token[1]},
	}
	r, err := http.NewRequest("POST", w.base+"/login", strings.NewReader(form.Encode()))
	mustOf(b)(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := w.Do(r)
	mustOf(b)(err)
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		b.Fatal(res.Status)
	}
	return w
}

// get returns a page.
func (w *browser) get(b *testing.B, path string) string {
	b.Helper()
	text, err := w.fetch(path)
	mustOf(b)(err)
	return text
}

func (w *browser) fetch(path string) (string, error) {
	res, err := w.Get(w.base + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	return string(text), err
}
