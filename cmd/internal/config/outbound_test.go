package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

func host(t *testing.T, s string) route.Host {
	t.Helper()
	h, err := route.ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// secretFile writes a password into a file with this mode beside the configuration.
func secretFile(t *testing.T, folder, name string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// loadIn loads text as a file in a folder.
func loadIn(t *testing.T, folder, text string, environ ...string) (*Config, error) {
	t.Helper()
	file := filepath.Join(folder, "pillarbox.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file, environ)
}

// A route inherits unset keys from [outbound], wherever they are set; but no server gets another
// server's password.
func TestRoutesInherit(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "isp", 0o600)
	c, err := loadIn(t, folder, `hostname = "a.example"

[[route]]
domains = ["mx.example"]
retries = ["5m"]

[[route]]
domains = ["*.Partner.Example", "partner.example"]
smart_host = ["mail.partner.example"]
tls = "verified"
mta_sts = false
connections = 3
masquerade = ""

[[route]]
domains = ["direct.example"]
smart_host = []

[outbound]
smart_host = ["mail.isp.example:587"]
user = "office"
password_file = "isp"
mechanisms = ["LOGIN", "NTLM"]
masquerade = "brand.example"
expire = "24h"
windows = ["Sat,Sun"]
`, "PILLARBOX_OUTBOUND_TLS=required")
	if err != nil {
		t.Fatal(err)
	}
	def := Default().Routes.Default
	def.SmartHost, def.User, def.PasswordFile = []route.Host{host(t, "mail.isp.example:587")}, "office", filepath.Join(folder, "isp")
	def.Mechanisms = []string{"LOGIN", "NTLM"}
	def.Masquerade, def.Schedule.Expire, def.TLS = "brand.example", 24*time.Hour, route.TLSRequired
	if def.Windows, err = route.ParseWindows([]string{"Sat,Sun"}); err != nil {
		t.Fatal(err)
	}
	mx, partner, direct := def, def, def
	mx.Name, mx.Domains, mx.Schedule.Retries = "mx.example", []string{"mx.example"}, []time.Duration{5 * time.Minute}
	partner.Name, partner.Domains = "*.partner.example", []string{"*.partner.example", "partner.example"}
	partner.SmartHost, partner.User, partner.PasswordFile = []route.Host{host(t, "mail.partner.example")}, "", ""
	partner.Mechanisms, direct.Mechanisms = nil, nil
	partner.TLS, partner.MTASTS, partner.Connections, partner.Masquerade = route.TLSVerified, false, 3, ""
	direct.Name, direct.Domains, direct.SmartHost, direct.User, direct.PasswordFile = "direct.example", []string{"direct.example"}, nil, "", ""
	if want := (route.Table{Routes: []route.Route{mx, partner, direct}, Default: def}); !reflect.DeepEqual(c.Routes, want) {
		t.Errorf("got  %+v\nwant %+v", c.Routes, want)
	}
	if c.Warnings != nil {
		t.Errorf("warnings %q", c.Warnings)
	}
	shown := map[string]Setting{}
	for _, s := range c.Effective() {
		shown[s.Key] = s
	}
	for _, want := range []Setting{
		{Key: "route[2].tls", Value: `"verified"`, Source: filepath.Join(folder, "pillarbox.toml") + ":10"},
		{Key: "route[2].expire", Value: `"24h"`, Source: filepath.Join(folder, "pillarbox.toml") + ":25"},
		{Key: "route[1].tls", Value: `"required"`, Source: "env PILLARBOX_OUTBOUND_TLS"},
		{Key: "route[1].user", Value: `"office"`, Source: filepath.Join(folder, "pillarbox.toml") + ":21"},
		{Key: "route[2].user", Value: `""`, Source: "default"},
		{Key: "route[2].mechanisms", Value: `[]`, Source: "default"},
		{Key: "route[1].mechanisms", Value: `["LOGIN", "NTLM"]`, Source: filepath.Join(folder, "pillarbox.toml") + ":23"},
		{Key: "route[2].helo", Value: `false`, Source: "default"},
		{Key: "route[3].domains", Value: `["direct.example"]`, Source: filepath.Join(folder, "pillarbox.toml") + ":16"},
	} {
		if got := shown[want.Key]; got != want {
			t.Errorf("shown as %+v, want %+v", got, want)
		}
	}
}

// Routes of the same domains need different costs. Each has a name, and the restrictions reach the
// policy.
func TestRouteCost(t *testing.T) {
	const two = `hostname = "a.example"
[[route]]
domains = ["partner.example"]
smart_host = ["mail1.partner.example"]
accept_from = ["boss@a.example", "group:few"]
max_size = "1MB"
[[route]]
domains = ["partner.example"]
smart_host = ["mail2.partner.example"]
cost = 10
[groups]
few = ["sales.example"]
`
	c := mustLoad(t, two)
	limits := c.Policy.Routes
	if c.Routes.Routes[0].Name != "partner.example" || c.Routes.Routes[1].Name != "partner.example#2" || limits.Table != &c.Routes ||
		limits.Limit[0].AcceptFrom.Len() != 2 || limits.Limit[0].MaxSize != (policy.Setting[int64]{Value: 1_000_000, Origin: "pillarbox.toml:6"}) {
		t.Errorf("%+v", limits)
	}
	_, err := load(t, strings.Replace(two, "cost = 10", "", 1))
	if err == nil || !strings.Contains(err.Error(), `route[2].domains: "partner.example" is in route[1] already; take it out of one of the two, or give them a different cost`) {
		t.Errorf("got %v", err)
	}
}

// The other server of a hosted domain must be named: its mail exchangers are this server.
func TestUnresolvedRoute(t *testing.T) {
	const good = "hostname = \"a.example\"\n[[route]]\ndomains = [\"a.example\"]\nunresolved = true\nsmart_host = [\"[192.0.2.1]\"]\n"
	if c := mustLoad(t, good); !c.Routes.For("a.example").Unresolved || c.Routes.For("b.example").Unresolved {
		t.Errorf("%+v", c.Routes)
	}
	for _, text := range []string{strings.Replace(good, "smart_host = [\"[192.0.2.1]\"]", "", 1), good + "direct_first = true\n"} {
		_, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), "route[1].unresolved: the mail exchangers of a hosted domain are this server") {
			t.Errorf("got %v", err)
		}
	}
}

// A route with its own server and only a user name has no password.
func TestNoPasswordOfAnother(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "isp", 0o600)
	_, err := loadIn(t, folder, `hostname = "a.example"
outbound = { smart_host = ["smtps://isp.example"], user = "office", password_file = "isp" }
[[route]]
domains = ["partner.example"]
smart_host = ["smtps://mail.partner.example"]
user = "us"
`)
	if err == nil || !strings.Contains(err.Error(), "pillarbox.toml:6: route[1].user: has no password; ") {
		t.Errorf("got %v", err)
	}
}

func TestRelayedRoutes(t *testing.T) {
	const text = `hostname = "a.example"
[[route]]
domains = ["partner.example", "*.branch.example"]
hold = true
allow_relay = true
etrn_hosts = ["group:branch", "10.0.0.9"]
etrn_accounts = ["Branch@office.example"]
[[route]]
domains = ["closed.example"]
[groups]
branch = ["192.0.2.25"]
`
	c := mustLoad(t, text)
	for domain, want := range map[addr.Domain]string{
		"partner.example": "pillarbox.toml:3", "x.branch.example": "pillarbox.toml:3",
		"x.partner.example": "", "branch.example": "", "closed.example": "",
	} {
		if line, _ := c.Policy.Relay.OverrideDomains.Match(addr.Address{Local: "a", Domain: domain}); line.Origin != want {
			t.Errorf("%s: %+v, want %q", domain, line, want)
		}
	}
	more := c.Relayed[0]
	if _, ok := more.ETRNHosts.Match(netip.MustParseAddr("192.0.2.25"), ""); !ok || more.ETRNHosts.Len() != 2 || c.Relayed[1].ETRNHosts.Len() != 0 {
		t.Errorf("hosts %v", more.ETRNHosts.Lines())
	}
	if want := []addr.Address{{Local: "branch", Domain: "office.example"}}; !slices.Equal(more.ETRNAccounts, want) {
		t.Errorf("accounts %v", more.ETRNAccounts)
	}
	if c.Warnings != nil {
		t.Errorf("warnings %q", c.Warnings)
	}
	c = mustLoad(t, strings.Replace(text, "hold = true\n", "", 1))
	if len(c.Warnings) != 2 || !strings.HasPrefix(c.Warnings[0], "pillarbox.toml:5: route[1].etrn_hosts: ") {
		t.Errorf("not held: %q", c.Warnings)
	}
}

// A route to all domains with allow_relay is an open relay like any other.
func TestRelayedRouteIsAnOpenRelay(t *testing.T) {
	const text = "hostname = \"a.example\"\n[[route]]\nallow_relay = true\ndomains = [\"x.example\",\n  \"*\"]\n"
	_, err := load(t, text)
	want := `:5: route[1].domains: would make an open relay: "*" lets every client relay to every domain, because of allow_relay; ` +
		`name the domains, or set relay.i_know_this_is_an_open_relay = true`
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	c := mustLoad(t, text+"[relay]\ni_know_this_is_an_open_relay = true\n")
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "pillarbox.toml:5: route[1].domains: this is an open relay") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestFetch(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "pop", 0o600)
	c, err := loadIn(t, folder, `hostname = "a.example"
[[fetch]]
etrn_server = "[192.0.2.1]"
etrn_domains = ["Office.Example", "@office.example", "#Q1"]
at = ["17:30", "08:00"]
[[fetch]]
pop3 = "pop.isp.example"
user = "box7"
password_file = "pop"
deliver_to = "anna@office.example"
leave_days = 5
[[fetch]]
name = "third"
pop3 = "pop3s://pop.isp.example:1995"
tls = "verified"
user = "box8"
password_file = "pop"
deliver_to = "anna@office.example"
leave = true
every = "1h"
with_each_delivery = true
`)
	if err != nil {
		t.Fatal(err)
	}
	file, anna := filepath.Join(folder, "pop"), addr.Address{Local: "anna", Domain: "office.example"}
	want := []Fetch{
		{Name: "192.0.2.1", ETRNServer: host(t, "[192.0.2.1]"), ETRNDomains: []string{"office.example", "@office.example", "#Q1"},
			At: []time.Duration{8 * time.Hour, 17*time.Hour + 30*time.Minute}},
		{Name: "pop.isp.example", POP3: host(t, "pop.isp.example:110"), TLS: route.TLSRequired, User: "box7", PasswordFile: file,
			DeliverTo: anna, Leave: true, LeaveDays: 5, Every: 15 * time.Minute},
		{Name: "third", POP3: host(t, "smtps://pop.isp.example:1995"), TLS: route.TLSVerified, User: "box8", PasswordFile: file,
			DeliverTo: anna, Leave: true, Every: time.Hour, WithEachDelivery: true},
	}
	if !reflect.DeepEqual(c.Fetch, want) {
		t.Errorf("got  %+v\nwant %+v", c.Fetch, want)
	}
}

func TestPOP3Hosts(t *testing.T) {
	for text, want := range map[string]struct {
		port     int
		implicit bool
		shown    string
	}{
		"pop.isp.example":              {110, false, "pop.isp.example:110"},
		"pop3://pop.isp.example":       {110, false, "pop.isp.example:110"},
		"pop.isp.example:995":          {995, true, "pop.isp.example:995"},
		"pop3s://pop.isp.example":      {995, true, "pop.isp.example:995"},
		"pop3s://[2001:db8::1]:1995":   {1995, true, "pop3s://[2001:db8::1]:1995"},
		"pop3s://pop.isp.example:0x10": {},
		"smtps://pop.isp.example":      {},
		"/run/pop":                     {},
		"":                             {},
	} {
		h, err := pop3Host.parse(text)
		if (err == nil) != (want.port > 0) || err == nil && (h.Port != want.port || h.ImplicitTLS != want.implicit || pop3Host.format(h) != want.shown) {
			t.Errorf("%q: %+v %v, shown as %s", text, h, err, pop3Host.format(h))
		}
	}
}

// A password file that others can read is reported before it is used.
func TestPasswordFiles(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "good", 0o600)
	secretFile(t, folder, "group", 0o640)
	secretFile(t, folder, "open", 0o644)
	if err := os.WriteFile(filepath.Join(folder, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"good":  "",
		"group": "",
		"open":  ":5: outbound.password_file: every user of this machine can read the password: " + folder + "/open has mode 0644; chmod 600 " + folder + "/open",
		"empty": ":5: outbound.password_file: " + folder + "/empty is empty; write the password into it",
		".":     ":5: outbound.password_file: " + folder + " is not a file; name the file with the password",
		"none":  ":5: outbound.password_file: " + folder + "/none does not exist; write the password into it and make it the server's own: chmod 600",
	} {
		c, err := loadIn(t, folder, "hostname = \"a.example\"\n[outbound]\nsmart_host = [\"smtps://m.example\"]\nuser = \"u\"\npassword_file = \""+file+"\"\n")
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.HasSuffix(err.Error(), "pillarbox.toml"+want)):
			t.Errorf("%s: got  %v\nwant %s", file, err, want)
		case err == nil && (len(c.Warnings) > 0) != (file == "group"):
			t.Errorf("%s: warnings %q", file, c.Warnings)
		}
	}
	c, err := loadIn(t, folder, "hostname = \"a.example\"\n[outbound]\nsmart_host = [\"m.example\"]\nuser = \"u\"\npassword_file = \"good\"\ntls = \"off\"\n")
	if err != nil || len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], "pillarbox.toml:4: outbound.user: the password crosses") {
		t.Errorf("in the clear: %v, %q", err, c.Warnings)
	}
}

func TestDiffOfTables(t *testing.T) {
	const text = "hostname = \"a.example\"\ndata = \"/d\"\n[[route]]\ndomains = [\"a.example\"]\n[[route]]\ndomains = [\"b.example\"]\n"
	before := mustLoad(t, text)
	for more, want := range map[string][]string{
		"":                            nil,
		"hold = true\n":               {"route[2].hold"},
		"[outbound]\nport = 26\n":     {"outbound.port", "route[1].port", "route[2].port"},
		"[[route]]\ndomains = ['c']":  {"route[3]"},
		"[pickup]\nenabled = false\n": {"pickup.enabled"},
	} {
		after := mustLoad(t, text+more)
		if got := Diff(before, after); !slices.Equal(got, want) {
			t.Errorf("%q: changed %v, want %v", more, got, want)
		}
		if strings.HasPrefix(more, "[[") {
			if got := Diff(after, before); !slices.Equal(got, want) {
				t.Errorf("gone: changed %v, want %v", got, want)
			}
		}
	}
	if got := RestartKeys([]string{"route[1].tls", "fetch[2]", "pickup.dir", "local.socket", "local.outside", "listen.odmr"}); !slices.Equal(got, []string{"pickup.dir", "local.socket", "listen.odmr"}) {
		t.Errorf("restart for %v", got)
	}
}

func TestOutboundEnabled(t *testing.T) {
	if c := mustLoad(t, `hostname = "a.example"`); c.Policy.Outside.Closed != (policy.Setting[bool]{Origin: "default"}) {
		t.Errorf("by default %+v", c.Policy.Outside.Closed)
	}
	c := mustLoad(t, "hostname = \"a.example\"\noutbound.enabled = false\n")
	if c.Policy.Outside.Closed != (policy.Setting[bool]{Value: true, Origin: "pillarbox.toml:2"}) || c.Outbound.Enabled {
		t.Errorf("off: %+v", c.Policy.Outside.Closed)
	}
}

func TestLoweringOutboundConnectionsLowersThoseOfOneDomain(t *testing.T) {
	c := mustLoad(t, "hostname = \"a.example\"\noutbound.connections = 20\n[[route]]\ndomains = ['b']\n[[route]]\ndomains = ['c']\nconnections = 5\n")
	if got := []int{c.Routes.Default.Connections, c.Routes.Routes[0].Connections, c.Routes.Routes[1].Connections}; !slices.Equal(got, []int{20, 20, 5}) {
		t.Errorf("one domain may have %d of 20", got)
	}
}

func TestWhereTheSocketIs(t *testing.T) {
	for file, want := range map[string]string{
		"/etc/pillarbox/pillarbox.toml": "/run/pillarbox/submit.sock",
		"/srv/mail/pillarbox.toml":      "/srv/mail/data/submit.sock",
	} {
		c := Default()
		c.resolve(filepath.Dir(file), filepath.Base(file))
		if c.Local.Socket != want || c.Pickup.Dir != filepath.Join(c.Data, "pickup") {
			t.Errorf("%s: %s, %s", file, c.Local.Socket, c.Pickup.Dir)
		}
	}
	c := mustLoad(t, "hostname = \"a.example\"\nlocal.socket = \"s\"\npickup.dir = \"p\"\n")
	if folder := filepath.Dir(c.Data); c.Local.Socket != filepath.Join(folder, "s") || c.Pickup.Dir != filepath.Join(folder, "p") {
		t.Errorf("set: %s, %s", c.Local.Socket, c.Pickup.Dir)
	}
}

func TestDNSBL(t *testing.T) {
	c := mustLoad(t, "hostname = \"a.example\"\n[dnsbl]\nsites = [\"Zen.Example\",\n \"bl.example=127.0.0.2\"]\nprivate_allow = [\"192.0.2.1\"]\naction = \"mark\"\n")
	b := &c.Policy.DNSBL
	if got := b.Zones(); !slices.Equal(got, []string{"zen.example", "bl.example"}) || b.Sites[1].Line.Origin != "pillarbox.toml:4" ||
		b.Action != (policy.Setting[policy.DNSBLAction]{Value: policy.DNSBLMark, Origin: "pillarbox.toml:6"}) || b.Allow.Len() != 1 {
		t.Errorf("got %+v", b)
	}
	c = mustLoad(t, "hostname = \"a.example\"\ndnsbl.action = \"reject\"\n")
	if len(c.Warnings) != 1 {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// Every key of a table is in the sample, in a valid example.
func TestSampleTables(t *testing.T) {
	text := regexp.MustCompile(`(?m)^(?:# (\[\[[a-z]+\]\])|#   ([a-z0-9_]+ = ))`).ReplaceAll(Render(sampleValues()), []byte("$1$2"))
	text = regexp.MustCompile(`(?m)^scanners = .*$`).ReplaceAll(text, nil) // the one of [groups]
	folder := t.TempDir()
	secretFile(t, folder, "secret", 0o600)
	secretFile(t, folder, "ldap.password", 0o600)
	login := strings.NewReplacer("user = \"\"", "user = \"u\"", "password_file = \"\"", "password_file = \"secret\"", "every = \"15m\"\n", "every = \"0\"\n", "at = []", "at = [\"08:00\"]")
	c, err := loadIn(t, folder, login.Replace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables() {
		if n := table.len(c); n != 1 {
			t.Errorf("%d of [[%s]]", n, table.name)
			continue
		}
		for _, k := range table.keys(entry(table.name, 0), 0) {
			if !c.set(k.name) {
				t.Errorf("%s is not in the sample", k.name)
			}
		}
	}
}

func TestSenselessWays(t *testing.T) {
	for lines, want := range map[string]string{
		"[outbound]\ntls = \"off\"\nsmart_host = [\"smtps://m.example\"]":         "outbound.tls: is off, but",
		"[outbound]\ndelay_notice = \"50h\"":                                      "outbound.delay_notice: is never sent: mail expires after 48h",
		"[outbound]\nretries = [\"15h\"]\nexpire = \"1h\"\ndelay_notice = \"0s\"": "outbound.retries: there is no second attempt",
		"[[route]]\ndomains = [\"a.example\"]\nhelo = true\ntls = \"required\"":   "route[1].helo: TLS needs EHLO",
		"[[route]]\ndomains = [\"a.example\"]\nhold = true":                       "route[1].hold: no client may request the mail",
	} {
		c := mustLoad(t, "hostname = \"a.example\"\ndata = \"/d\"\n"+lines+"\n")
		if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], want) {
			t.Errorf("%s: %q", lines, c.Warnings)
		}
	}
}
