package config

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
)

var update = flag.Bool("update", false, "write the golden files and the sample anew")

// load writes text to a file and loads it.
func load(t *testing.T, text string, environ ...string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pillarbox.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file, environ)
}

func mustLoad(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := load(t, text, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// golden compares got with a file of testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// A bad file is testdata/NAME.toml, with the environment in its "#env" lines;
// NAME.err is the report.
func TestErrorReports(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	environLine := regexp.MustCompile(`(?m)^#env (.*)$`)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var environ []string
			for _, found := range environLine.FindAllSubmatch(text, -1) {
				environ = append(environ, string(found[1]))
			}
			_, err = Load(file, environ, On(testMachine))
			if err == nil {
				t.Fatal("accepted")
			}
			golden(t, strings.TrimSuffix(file, ".toml")+".err", []byte(err.Error()+"\n"))
		})
	}
}

// Every report of a mistake has a hint.
func TestEveryProblemHasAHint(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.toml")
	for _, file := range files {
		_, err := Load(file, nil, On(testMachine))
		problems, ok := errors.AsType[Errors](err)
		if !ok {
			t.Errorf("%s: %v is no Errors", file, err)
		}
		for _, p := range problems {
			if p.Hint == "" || p.File == "" || (p.Line == 0 && p.What != "is missing") {
				t.Errorf("%s: no hint or no place in %+v", file, p)
			}
		}
	}
}

func TestNoFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.toml")
	_, err := Load(file, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%v is not fs.ErrNotExist", err)
	}
	want := file + `: cannot be read: no such file or directory; "pillarbox setup DOMAIN" writes one`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, `hostname = "Mail.Office.Example"`)
	want := Default()
	want.Hostname = "mail.office.example"
	want.Data = c.Data
	want.Pickup.Dir, want.Local.Socket = filepath.Join(c.Data, "pickup"), filepath.Join(c.Data, "submit.sock")
	want.Operators.Socket = filepath.Join(c.Data, "admin.sock")
	if !filepath.IsAbs(c.Data) || filepath.Base(c.Data) != "data" {
		t.Errorf("data is %s", c.Data)
	}
	want.origin = c.origin
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
}

// Every form in which TOML can write the same value.
func TestForms(t *testing.T) {
	for name, text := range map[string]string{
		"sections": "hostname = 'a.example'\n[smtp]\nmax_errors = 1_1 # why\ngreeting = '%h'\n[listen]\nsmtp = [\n  ':26', # one\n  \"127.0.0.1:27\",\n]",
		"dotted":   "hostname = \"a.example\"\nsmtp.max_errors = 0xb\nsmtp . 'greeting' = \"\\u0025h\"\nlisten.smtp = [':26', '127.0.0.1:27']",
		"inline":   "hostname = \"\"\"\na.example\"\"\"\nsmtp = { max_errors = 0b1011, greeting = '%h' }\nlisten = { smtp = [':26', '127.0.0.1:27'] }",
		"crlf":     "hostname = 'a.example'\r\n[smtp]\r\nmax_errors = 0o13\r\ngreeting = '%h'\r\n[listen]\r\nsmtp = [':26', '127.0.0.1:27']\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, text)
			if c.Hostname != "a.example" || c.SMTP.MaxErrors != 11 || c.SMTP.Greeting != "%h" ||
				!slices.Equal(c.Listen.SMTP, []string{":26", "127.0.0.1:27"}) {
				t.Errorf("got %+v", *c)
			}
		})
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("etc", 0o700); err != nil {
		t.Fatal(err)
	}
	text := "hostname = \"a.example\"\ndata = \"../var\"\n[tls]\ncert = \"a.pem\"\nkey = \"/k.pem\"\n"
	if err := os.WriteFile("etc/p.toml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load("etc/p.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ = os.Getwd() // TempDir may go through a symbolic link
	if c.Data != filepath.Join(dir, "var") || c.TLS.Cert != filepath.Join(dir, "etc/a.pem") || c.TLS.Key != "/k.pem" {
		t.Errorf("data %s, cert %s, key %s", c.Data, c.TLS.Cert, c.TLS.Key)
	}
	if got := c.Certs(); got.Dir != filepath.Join(dir, "var/tls") || got.CertFile != c.TLS.Cert {
		t.Errorf("certs %+v", got)
	}
}

func TestEnvironmentOverrides(t *testing.T) {
	c := mustLoad(t, "hostname = \"a.example\"\n[smtp]\nmax_errors = 5\nmax_recipients = 7\n",
		"HOME=/root",
		"PILLARBOX_CONFIG=/elsewhere",
		"PILLARBOX_HOSTNAME=b.example",
		"PILLARBOX_SMTP_MAX_ERRORS=6",
		"PILLARBOX_SMTP_GREETING=one, two = three",
		"PILLARBOX_LISTEN_SMTP=:26, [::1]:27",
		"PILLARBOX_LISTEN_POP3=",
		"PILLARBOX_AUTH_PLAINTEXT_NETWORKS=192.168.1.0/24,10.1.2.3",
	)
	if c.Hostname != "b.example" || c.SMTP.MaxErrors != 6 || c.SMTP.MaxRecipients != 7 || c.SMTP.Greeting != "one, two = three" {
		t.Errorf("got %+v", *c)
	}
	if !slices.Equal(c.Listen.SMTP, []string{":26", "[::1]:27"}) || len(c.Listen.POP3) != 0 {
		t.Errorf("listen %+v", c.Listen)
	}
	networks := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("10.1.2.3/32")}
	if !slices.Equal(c.Auth.PlaintextNetworks, networks) {
		t.Errorf("networks %v", c.Auth.PlaintextNetworks)
	}
}

func TestEffective(t *testing.T) {
	c := mustLoad(t, "hostname = \"a.example\"\n\n[smtp]\ngreeting = \"say \\\"hi\\\"\"\n", "PILLARBOX_LISTEN_POP3=:1110,:1111")
	got := map[string]Setting{}
	for _, s := range c.Effective() {
		got[s.Key] = s
	}
	for _, want := range []Setting{
		{Key: "hostname", Value: `"a.example"`, Source: ":1"},
		{Key: "smtp.greeting", Value: `"say \"hi\""`, Source: ":4"},
		{Key: "listen.pop3", Value: `[":1110", ":1111"]`, Source: "env PILLARBOX_LISTEN_POP3"},
		{Key: "listen.pop3s", Value: `[":995"]`, Source: "default"},
		{Key: "smtp.command_timeout", Value: `"10m"`, Source: "default"},
		{Key: "smtp.max_errors", Value: `10`, Source: "default"},
		{Key: "tls.min_version", Value: `"1.2"`, Source: "default"},
	} {
		s := got[want.Key]
		if s.Value != want.Value || !strings.HasSuffix(s.Source, want.Source) || s.Secret {
			t.Errorf("got %+v, want %+v", s, want)
		}
	}
}

// The output of "config show" means the same as a file: each value survives formatting and parsing.
func TestEffectiveRoundTrip(t *testing.T) {
	text := `
hostname = "a.example"
data = "/v \"q\" \\ é"
default_domain = "b.example"
postmaster = "\"x y\"@b.example"
listen.smtp = ["localhost:2525", "[fe80::1%eth0]:25"]
listen.pop3 = []
tls.min_version = "1.3"
auth.plaintext_networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"]
smtp.max_message_size = "26214401"
smtp.max_text_line = "1001"
smtp.command_timeout = "1m30s"
smtp.data_timeout = "1h"
smtp.bare_line_endings = "normalise"
mailboxes.plus_separator = ""
mailboxes.default_quota = "1GiB"
mailboxes.default_messages = 5000
mailboxes.default_warning = "80%"
mailboxes.over_quota = "defer"
mailboxes.notices = "de"
mailboxes.delete_after = 365
mailboxes.delete_fetched_after = 7
log.level = "debug"
log.format = "json"
dns.servers = ["192.168.1.1", "[2001:db8::1]:5353"]
connections.mode = "only"
connections.allow = ["group:lan", " 192.0.2.0 255.255.255.0", "[10.1.2.*]"]
sites.submission.min_tls = "1.3"
sites.smtp.anonymous = false
relay.deny_hosts = ["*"]
relay.deny_domains = ["@a.example", "<>"]
senders.verify_user = "header"
smtp.max_session_size = "0"
outside.send = false
groups.lan = ["192.168.1.0/24", "*.office.example"]
listen.odmr = [":366"]
outbound.enabled = false
outbound.smart_host = ["mail.isp.example:587", "[10.0.0.1]", "smtps://[2001:db8::1]:465"]
outbound.direct_first = true
outbound.port = 2525
outbound.tls = "required"
outbound.masquerade = "brand.example"
outbound.name = "out.office.example"
outbound.bind = "192.0.2.1"
outbound.retries = ["90s", "1h30m"]
outbound.delay_notice = "0"
outbound.expire = "72h"
outbound.windows = ["Mon-Fri 08:00-18:00", "22:00-06:00"]
outbound.connections = 50
outbound.mta_sts = false
reports.language = "de"
reports.copy_to = "boss@b.example"
reports.null_sender = "drop"
reports.max_return = "0"
reports.strangers = "none"
reports.per_address = 7
reports.per_hour = 0
reports.badmail_days = 90
reports.badmail_size = "1GB"
pickup.dir = "/srv/drop"
local.socket = "/run/x.sock"
local.per_hour = 7
dnsbl.private_deny = ["192.0.2.0/24", "group:lan"]
dnsbl.sites = ["zen.example", "bl.example=127.0.0.2-4"]
dnsbl.action = "reject"
dnsbl.reply = "%i is at %s"
dnsbl.exempt = ["abuse@b.example"]
authenticity.spf = "mark"
authenticity.dmarc = "reject"
authenticity.dkim_sign = false

[[route]]
domains = ["partner.example", "*.partner.example"]
smart_host = ["/run/lmtp"]
lmtp = true
direct_first = false
hold = true
etrn_hosts = ["192.0.2.25"]
etrn_accounts = ["Branch@b.example"]
allow_relay = true
windows = ["never"]

[[route]]
domains = ["*"]
helo = true
windows = []

[[fetch]]
etrn_server = "mail.isp.example"
etrn_domains = ["b.example", "@b.example", "#queue"]
at = ["17:05", "8:00"]

[[fetch]]
name = "pop"
pop3 = "pop.isp.example"
user = "u"
password_file = "PASSWORD"
deliver_to = "anna@b.example"
leave_days = 3
with_each_delivery = true
`
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := mustLoad(t, strings.ReplaceAll(text, "PASSWORD", secret))
	var again, entries strings.Builder
	for _, s := range first.Effective() {
		table, name, ok := strings.Cut(s.Key, "].")
		if !ok {
			again.WriteString(s.Key + " = " + s.Value + "\n")
			continue
		}
		if name == "domains" || name == "name" { // the first key of an entry
			entries.WriteString("[[" + strings.TrimRight(table, "[0123456789") + "]]\n")
		}
		entries.WriteString(name + " = " + s.Value + "\n")
	}
	second := mustLoad(t, again.String()+entries.String())
	if a, b := withoutOrigins(first), withoutOrigins(second); !reflect.DeepEqual(a, b) {
		t.Errorf("got  %+v\nwant %+v", b, a)
	}
	if changed := Diff(first, second); changed != nil {
		t.Errorf("differ in %v", changed)
	}
}

// withoutOrigins returns a configuration without its origins in the file; the rules are compiled
// again from lines without origins.
func withoutOrigins(c *Config) Config {
	bare := *c
	bare.origin, bare.Warnings = nil, nil
	bare.lines = map[string][]policy.Line{}
	for name, lines := range c.lines {
		for _, line := range lines {
			bare.lines[name] = append(bare.lines[name], policy.Line{Text: line.Text})
		}
	}
	bare.Listen.POP3 = append([]string{}, bare.Listen.POP3...) // nil or empty is all the same
	for _, k := range keys() {
		if section(k.name) != "listen" && k.kind != listKind {
			k.set(&bare, parsed(k, c), func(int) string { return "" })
		}
	}
	bare.compile()
	return bare
}

// parsed returns the value of a key in the form of set.
func parsed(k key, c *Config) any { return decoded(k.show(c)) }

// decoded returns a value of the file in the form of set.
func decoded(value string) any {
	var doc map[string]any
	if err := toml.Unmarshal([]byte("v = "+value), &doc); err != nil {
		panic(err)
	}
	return stringList(doc["v"])
}

func TestLoweringConnectionsLowersThoseOfOneAddress(t *testing.T) {
	c := mustLoad(t, "hostname = \"a.example\"\nlimits.connections = 20\n")
	if c.Limits.ConnectionsPerAddress != 20 {
		t.Errorf("one address may have %d of 20", c.Limits.ConnectionsPerAddress)
	}
}

func TestDiff(t *testing.T) {
	text := "hostname = \"a.example\"\n"
	before := mustLoad(t, text)
	same := mustLoad(t, text+"data = \""+before.Data+"\"\nsmtp.max_errors = 10\n")
	if changed := Diff(before, same); changed != nil {
		t.Errorf("nothing changed, but %v", changed)
	}
	after := mustLoad(t, text+"data = \"/d\"\nlisten.pop3 = []\nlog.level = \"warn\"\n")
	changed := Diff(before, after)
	if want := []string{"data", "listen.pop3", "pickup.dir", "local.socket", "operators.socket", "log.level"}; !slices.Equal(changed, want) {
		t.Errorf("changed %v, want %v", changed, want)
	}
	if got, want := RestartKeys(changed), []string{"data", "listen.pop3", "pickup.dir", "local.socket", "operators.socket"}; !slices.Equal(got, want) {
		t.Errorf("restart for %v, want %v", got, want)
	}
}

func TestExpandGreeting(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	got := ExpandGreeting("%h: it is %d", "mail.a.example", now)
	if want := "mail.a.example: it is Wed, 04 Mar 2026 05:06:07 +0000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func sampleValues() SampleValues {
	return SampleValues{Hostname: "mail.office.example", Listen: Default().Listen}
}

// The sample in the repository is the rendered template, and setup writes the same.
func TestSample(t *testing.T) {
	golden(t, "../../../etc/pillarbox.toml", Render(sampleValues()))
	mustLoad(t, string(Render(sampleValues())))
}

// Every key is in the sample with its default, as a comment or not.
func TestSampleIsComplete(t *testing.T) {
	text := regexp.MustCompile(`(?m)^# ([a-z0-9_]+ = )`).ReplaceAll(Render(sampleValues()), []byte("$1"))
	c := mustLoad(t, string(text))
	for _, k := range keys() {
		if _, ok := c.origin[k.name]; !ok {
			t.Errorf("%s is not in the sample", k.name)
		}
	}
	defaults := Default()
	defaults.Hostname, defaults.Data = "mail.office.example", c.Data
	defaults.Pickup.Dir, defaults.Local.Socket, defaults.Operators.Socket = c.Pickup.Dir, c.Local.Socket, c.Operators.Socket
	if changed := Diff(&defaults, c); changed != nil {
		t.Errorf("the sample states other defaults for %v", changed)
	}
}

func TestRenderRoundTrip(t *testing.T) {
	v := SampleValues{
		Hostname:          "mail.xn--bro-hoa.example",
		Data:              "/srv/p \"b\"\\\x01\u00e9",
		DefaultDomain:     "office.example",
		Postmaster:        addr.Address{Local: "b o", Domain: "office.example"},
		Listen:            Listen{SMTP: []string{"127.0.0.1:10025", "[::1]:10025"}, POP3S: []string{":10995"}},
		PlaintextNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("fd00::/64")},
	}
	c := mustLoad(t, string(Render(v)))
	got := SampleValues{c.Hostname, c.Data, c.DefaultDomain, c.Postmaster, c.Listen, c.Auth.PlaintextNetworks, ""}
	if !reflect.DeepEqual(got, v) {
		t.Errorf("got  %+v\nwant %+v", got, v)
	}
}

// A file for Domino's administrators sets Domino's defaults; any other is closed.
func TestRenderLike(t *testing.T) {
	for like, want := range map[Like]policy.Relay{
		"":         {Enforcement: policy.Setting[policy.Enforcement]{Value: policy.EnforceAll, Origin: byDefault}},
		LikeDomino: {Enforcement: policy.Setting[policy.Enforcement]{Value: policy.EnforceExternal}, DominoReplies: policy.Setting[bool]{Value: true}},
	} {
		c := mustLoad(t, string(Render(SampleValues{Hostname: "mail.office.example", Like: like})))
		got, refuse := c.Policy.Relay, c.Policy.Senders.RefuseForged.Value
		if got.Enforcement.Value != want.Enforcement.Value || got.DominoReplies.Value != want.DominoReplies.Value || !refuse {
			t.Errorf("like %q: enforcement %q, Domino's replies %v, forged senders refused %v", like, got.Enforcement.Value, got.DominoReplies.Value, refuse)
		}
	}
}

func TestVariablesAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, k := range keys() {
		if other, ok := seen[k.variable()]; ok || k.variable() == pathVariable {
			t.Errorf("%s and %s share %s", k.name, other, k.variable())
		}
		seen[k.variable()] = k.name
	}
}

func TestSuggestKey(t *testing.T) {
	names := newSchema(keys())
	for name, want := range map[string]string{
		"smtp.max_mesage_size": "did you mean smtp.max_message_size?",
		"smtp.max_reciepients": "did you mean smtp.max_recipients?",
		"max_message_size":     "did you mean smtp.max_message_size?",
		"greeting":             "did you mean smtp.greeting or pop3.greeting?",
		"Hostname":             "did you mean hostname?",
		"pop3.timeout":         "did you mean pop3.idle_timeout?",
		"log.colour":           "known here are level and format",
		"route[2].tsl":         "did you mean tls of [[route]]?",
		"route[1].colour":      "known here are domains, lmtp, helo, hold, etrn_hosts, etrn_accounts, allow_relay, unresolved, cost, accept_from, reject_from, max_size, connections, smart_host, direct_first, port, tls, user, password_file, oauth_token_url, oauth_client_id, oauth_secret_file, oauth_scope, oauth_token_file, mechanisms, masquerade, bind, retries, delay_notice, expire, windows, mta_sts and dane",
		"etrn_server":          "did you mean etrn_server of [[fetch]]?",
		"xyzzy":                "known here are hostname, data, default_domain and postmaster",
		"sites.smtp.anonymus":  "did you mean sites.smtp.anonymous?",
		"groups.My Scanners":   "name a group in small letters, digits, - and _",
		"groups.a.b":           "name a group in small letters, digits, - and _",
		"a.b.c": "the sections are listen, tls, tls.acme, auth, passwords, web, system, connections, anonymous, sites, sites.smtp, sites.submission, sites.smtps, " +
			"sites.pop3, sites.pop3s, relay, senders, recipients, outside, outbound, reports, pickup, local, operators, dnsbl, authenticity, " +
			"smtp, pop3, limits, bans, dns, mailboxes, log, log.levels, log.w3c, log.protocol, events, metrics, alerts, backup, telemetry, config, groups, [[route]], [[fetch]] and [[directory]]",
	} {
		if got := names.suggestKey(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// The oracle is go-toml: text that this package accepts as TOML is TOML, with the same values.
func FuzzDocument(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.toml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add(Render(sampleValues()))
	f.Add([]byte("hostname = 'a'\nsmtp.max_errors = 0x_1\nsmtp = {greeting='x'}\n[smtp]\n[smtp.a]\n"))
	f.Add([]byte("listen.smtp = [ 'a', '''b''', \"\"\"\nc\"\"\" ]\n[listen]\n[[listen]]"))
	f.Add([]byte("sites.smtp.anonymous = true\nsites = {pop3 = {require_tls = true}}\n[sites.pop3]\n[sites]\nsmtp.offer_auth = false\n[groups]\na-1 = ['x']"))
	f.Add([]byte("[[route]]\ndomains = ['a']\n[[ fetch ]]\npop3 = 'x'\n[[\"route\"]]\ntls='off'\n[route]\n[[route.x]]\nroute.a = 1\nfetch = []"))
	names := newSchema(keys())
	f.Fuzz(func(t *testing.T, text []byte) {
		d := readDocument("f", text, names)
		for _, p := range d.problems {
			if p.Line < 1 || p.Line > 1+bytes.Count(text, []byte("\n")) {
				t.Errorf("line %d of a problem", p.Line)
			}
		}
		if d.problems != nil {
			return
		}
		var want map[string]any
		if err := toml.Unmarshal(text, &want); err != nil {
			t.Fatalf("no problem found, but: %v", err)
		}
		got := map[string]any{}
		for name, v := range d.values {
			got[name] = v.v
		}
		flat := flatten(want)
		for name, v := range got {
			if v != nil && !reflect.DeepEqual(v, flat[name]) {
				t.Errorf("%s: got %#v, want %#v", name, v, flat[name])
			}
		}
		if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(flat)); !slices.Equal(g, w) {
			t.Errorf("keys %v, want %v", g, w)
		}
	})
}

// flatten returns the keys of a decoded document with their dotted names, and its lists of strings
// with their type.
func flatten(m map[string]any) map[string]any {
	flat := map[string]any{}
	names := newSchema(keys())
	var add func(section string, m map[string]any)
	add = func(section string, m map[string]any) {
		for leaf, v := range m {
			name := strings.TrimPrefix(section+"."+leaf, ".")
			if sub, ok := v.(map[string]any); ok && names.isSection(name) {
				add(name, sub)
				continue
			}
			if list, ok := v.([]any); ok && names.isTable(name) {
				for i, sub := range list {
					add(entry(name, i), sub.(map[string]any))
				}
				continue
			}
			flat[name] = stringList(v)
		}
	}
	add("", m)
	return flat
}

func stringList(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	items := []string{}
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			return v
		}
		items = append(items, s)
	}
	return items
}

// An administrator finds each setting by its former name: those of Domino's controls and notes.ini,
// of the Access and Messages pages of IIS 6, and of Exchange 2003.
func TestSampleNamesTheOldSettings(t *testing.T) {
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(Render(sampleValues())), "\n# ", " ")), " ")
	for _, name := range []string{
		"Perform anti-relay enforcement for", "Exclude these connecting hosts", "Exceptions for authenticated users",
		"Allow messages to be sent only to the following external", "Deny messages to be sent to",
		"Allow messages only from the following Internet hosts", "Deny messages from",
		"Verify connecting hostname in DNS", "Allow/deny connections", "SMTPAllowConnectionsAnonymous=1", "SMTPAllowConnectionsAnonymous=0",
		"Verify sender's domain in DNS", "Accept/deny messages from", "Verify that local domain recipients exist",
		"Allow/deny messages intended only for", "SMTPVerifyAuthenticatedSender", "Internet sites",
		"SMTPGreeting", "SMTPNoVersionInRcvdHdr", "SMTPStrict821AddressSyntax", "SMTPStrict821LineSyntax", "SMTPNonStandardLineTermination",
		"SMTPNotesPort", "SMTP_Config_Update_Interval", "Tell SMTP update config", "SMTPTimeoutMultiplier", "SMTPErrorLimit",
		"SMTPMaxCommandLength", "SMTPMaxSessions", "SMTPMaxRecipientCount", "SMTPMaxForRecipients", "SMTPVerifySendersDomainTimeout",
		"SMTPRelayHostsandDomains", "RouterDisableMailToGroups", "SMTPDenyMailToGroups",
		"Anonymous access", "Basic authentication", "Integrated Windows authentication", "Requires TLS encryption", "Default domain",
		"Require secure channel", "Require 128-bit encryption", "Connection control", "Relay restrictions", "Only the list below", "All except the list below",
		"Allow all computers which successfully authenticate to relay", "Limit message size to", "Limit session size to",
		"Limit number of messages per connection to", "Limit number of recipients per message to",
		"Send copy of Non-Delivery Report to", "Badmail directory", "Maximum hop count", "Perform reverse DNS lookup", "Connection time-out",
		"Smart host", "Attempt direct delivery before sending to smart host", "TCP port", "Masquerade domain", "Fully-qualified domain name",
		"First retry interval", "Subsequent retry interval", "Delay notification", "Expiration time-out",
		"Limit number of connections to", "Limit number of connections per domain to", "Time-out (minutes)",
		"Send HELO instead of EHLO", "Queue messages for remote triggered delivery", "Remote domain", "SMTP connector",
		"RouterLanguageVisibleNDRStatus", "RouterDSNForNULLReversePath", "RouterDisableDSNRelayReports",
		"Request ETRN/TURN", "Call at these times", "Pickup directory",
		"DNS blacklist filters", "Private whitelist filter", "Log and tag message", "Connection filtering",
		"Allow incoming mail to be relayed to this domain", "Allow messages to be relayed to these domains", "Sender filtering", "Recipient filtering",
	} {
		if !strings.Contains(text, name) {
			t.Errorf("%q is not in the sample", name)
		}
	}
}

// The texts of notices are loaded with the file, from paths relative to its folder.
func TestNoticeTemplates(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pillarbox.toml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = "hostname = \"a.example\"\n[mailboxes]\nnotices = \"de\"\nnotice_templates = \".\"\n"
	write("pillarbox.toml", text)
	write("mailbox-full.de.txt", "Subject: Voll\n\nVoll: {{.About}}\n")
	c, err := Load(file, nil)
	if err != nil || c.Mailboxes.NoticeTemplates != dir || c.Mailboxes.Templates.None() {
		t.Fatalf("got %+v, %v", c, err)
	}
	write("mailbox-full.de.txt", "Subject: Voll\n\nVoll: {{.Abuot}}\n")
	write("typo.de.txt", "")
	for _, want := range []string{
		file + ":4: mailboxes.notice_templates: template: mailbox-full.de.txt:3:8: executing",
		file + ":4: mailboxes.notice_templates: " + dir + "/typo.de.txt: no notice has this name",
	} {
		if _, err := Load(file, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	c, err = Load(file, []string{"PILLARBOX_MAILBOXES_NOTICES=off"})
	if err != nil || !c.Mailboxes.Templates.None() {
		t.Errorf("off: %v", err)
	}
	if _, err := Load(file, []string{"PILLARBOX_MAILBOXES_NOTICE_TEMPLATES=none"}); err == nil || !strings.Contains(err.Error(), "environment: PILLARBOX_MAILBOXES_NOTICE_TEMPLATES: open "+dir+"/none") {
		t.Errorf("no directory: %v", err)
	}
}
