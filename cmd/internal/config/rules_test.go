package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
)

// loadOn loads text for a given machine.
func loadOn(t *testing.T, m Machine, text string, environ ...string) (*Config, Errors) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pillarbox.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, environ, On(m))
	problems, ok := errors.AsType[Errors](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	return c, problems
}

// Every setting and entry of the policy has its origin. An entry of a group has the origin in the
// group.
func TestOrigins(t *testing.T) {
	c := mustLoad(t, `hostname = "mail.office.example"

[relay]
enforcement = "all"
allow_hosts = ["192.168.1.7", "192.168.1.8",
  "group:scanners", "group:more"]
refusal = "rejected"

[groups]
more = [
  "10.0.0.1",
  "group:scanners",
]
scanners = ["192.168.2.20"]

[sites.smtp]
anonymous = false
`, "PILLARBOX_SENDERS_DENY=spam.example, @bad.example", "PILLARBOX_SMTP_MAX_HOPS=7", "PILLARBOX_SITES_SMTP_REQUIRE_TLS=true")
	rules := &c.Policy
	for _, tt := range []struct{ what, got, want string }{
		{"enforcement", rules.Relay.Enforcement.Origin, "pillarbox.toml:4"},
		{"refusal", rules.Relay.DominoReplies.Origin, "pillarbox.toml:7"},
		{"authenticated", rules.Relay.AuthenticatedAllow.Origin, "default"},
		{"max_hops", rules.MaxHops.Origin, "env PILLARBOX_SMTP_MAX_HOPS"},
		{"anonymous", rules.Sites["smtp"].Anonymous.Origin, "pillarbox.toml:17"},
		{"require_tls", rules.Sites["smtp"].RequireTLS.Origin, "env PILLARBOX_SITES_SMTP_REQUIRE_TLS"},
		{"min_tls", rules.Sites["smtps"].MinTLS.Origin, "default"},
		{"key of a list", c.Origin("relay.allow_hosts"), "pillarbox.toml:5"},
		{"key by default", c.Origin("relay.deny_hosts"), "default"},
		{"key of the environment", c.Origin("senders.deny"), "env PILLARBOX_SENDERS_DENY"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is from %s, want %s", tt.what, tt.got, tt.want)
		}
	}
	for ip, want := range map[string]policy.Line{
		"192.168.1.7":  {Text: "192.168.1.7", Origin: "pillarbox.toml:5"},
		"192.168.1.8":  {Text: "192.168.1.8", Origin: "pillarbox.toml:5"},
		"192.168.2.20": {Text: "192.168.2.20", Origin: "pillarbox.toml:14"},
		"10.0.0.1":     {Text: "10.0.0.1", Origin: "pillarbox.toml:11"},
	} {
		if line, _ := rules.Relay.AllowHosts.Match(netip.MustParseAddr(ip), ""); line != want {
			t.Errorf("%s: %+v, want %+v", ip, line, want)
		}
	}
	if line, _ := rules.Relay.DenyHosts.Match(netip.MustParseAddr("192.0.2.1"), ""); line != (policy.Line{Text: "*", Origin: "default"}) {
		t.Errorf("default entry: %+v", line)
	}
	if line, _ := rules.Senders.Deny.Match(addr.Address{Local: "a", Domain: "bad.example"}); line != (policy.Line{Text: "@bad.example", Origin: "env PILLARBOX_SENDERS_DENY"}) {
		t.Errorf("entry of the environment: %+v", line)
	}
}

// Every setting of the policy has an origin, even by default.
func TestDefaultOrigins(t *testing.T) {
	c := mustLoad(t, `hostname = "a.example"`)
	for _, k := range keys() {
		if o := c.Origin(k.name); o != "default" && k.name != "hostname" {
			t.Errorf("%s is from %q", k.name, o)
		}
	}
	r := &c.Policy
	origins := []string{
		r.Connections.Only.Origin, r.Connections.VerifyHostname.Origin, r.Connections.ReverseDNS.Origin, r.Anonymous.AllowExceptions.Origin,
		r.Relay.Enforcement.Origin, r.Relay.AuthenticatedAllow.Origin, r.Relay.DenyWins.Origin, r.Relay.DominoReplies.Origin,
		r.Senders.VerifyUser.Origin, r.Senders.RefuseForged.Origin, r.Senders.VerifyDomain.Origin, r.MaxHops.Origin,
	}
	for _, name := range []string{"smtp", "submission", "smtps"} {
		s := r.Sites[name]
		origins = append(origins, s.RequireTLS.Origin, s.MinTLS.Origin, s.RequireAuth.Origin, s.Anonymous.Origin, s.OfferAuth.Origin)
	}
	for i, o := range origins {
		if o != "default" {
			t.Errorf("number %d is %q", i, o)
		}
	}
}

// A new server relays for logged-in users only.
func TestDefaultPolicy(t *testing.T) {
	c := mustLoad(t, `hostname = "a.example"`)
	r := &c.Policy
	if !r.Sites["smtp"].Anonymous.Value || r.Sites["smtp"].RequireAuth.Value || !r.Sites["submission"].RequireAuth.Value || !r.Sites["smtps"].RequireAuth.Value {
		t.Errorf("sites %+v", r.Sites)
	}
	var f policy.Facts
	f.Remote, f.From = netip.MustParseAddr("192.168.1.7"), addr.Address{Local: "a", Domain: "there.example"}
	f.To, f.Kind = addr.Address{Local: "b", Domain: "elsewhere.example"}, policy.RecipientRemote
	if d := r.Rcpt(&f); d.Verdict != policy.Refuse {
		t.Errorf("a stranger relays: %v", d.Steps)
	}
	f.User = policy.User{Address: addr.Address{Local: "anna", Domain: "office.example"}, Outside: true}
	if d := r.Rcpt(&f); d.Verdict != policy.Accept {
		t.Errorf("a user does not: %v", d.Steps)
	}
	if line, ok := c.Bans.Trusted.Match(netip.MustParseAddr("10.1.2.3"), ""); !ok || r.Senders.TrustedHosts.Len() != 0 {
		t.Errorf("trusted %v", line)
	}
	if c.Warnings != nil {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestGroupsAreShownAndCompared(t *testing.T) {
	text := "hostname = \"a.example\"\ndata = \"/d\"\n[groups]\n"
	before := mustLoad(t, text+"b = [\"10.0.0.1\"]\ngone = [\"10.0.0.2\"]\n")
	after := mustLoad(t, text+"a = [\"x.example\"]\nb = [\"10.0.0.1\"]\n")
	if got, want := Diff(before, after), []string{"groups.a", "groups.gone"}; !slices.Equal(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
	all := before.Effective()
	last := all[len(all)-1]
	if last.Key != "groups.gone" || last.Value != `["10.0.0.2"]` || !strings.HasSuffix(last.Source, "pillarbox.toml:5") {
		t.Errorf("shown as %+v", last)
	}
}

func TestGroupWithoutItsWord(t *testing.T) {
	c := mustLoad(t, "hostname = \"a.example\"\nrelay.allow_hosts = [\"scanners\"]\ngroups.scanners = [\"10.0.0.1\"]\n")
	want := []string{`pillarbox.toml:2: relay.allow_hosts: "scanners" is a host or a domain here; the group is "group:scanners"`}
	if !slices.Equal(c.Warnings, want) {
		t.Errorf("got  %q\nwant %q", c.Warnings, want)
	}
}

func TestPlaintextNetworksAreOneList(t *testing.T) {
	c := mustLoad(t, "hostname = \"a.example\"\nauth.plaintext_networks = [\"192.168.1.0/24\"]\n")
	line, ok := c.Policy.LogIns.PlaintextNetworks.Match(netip.MustParseAddr("192.168.1.9"), "")
	if !ok || line.Origin != "pillarbox.toml:2" || len(c.Auth.PlaintextNetworks) != 1 {
		t.Errorf("%+v %v %v", line, ok, c.Auth.PlaintextNetworks)
	}
}

func TestOnlyNobody(t *testing.T) {
	const text = "hostname = \"a.example\"\nconnections.mode = \"only\"\n"
	want := []string{"pillarbox.toml:2: connections.mode: no host may connect: connections.allow is empty"}
	if c := mustLoad(t, text); !slices.Equal(c.Warnings, want) {
		t.Errorf("got  %q\nwant %q", c.Warnings, want)
	}
	if c := mustLoad(t, text+"connections.allow = [\"192.0.2.1\"]\n"); c.Warnings != nil {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// A site that offers no login and takes no mail without one is a mistake, unless named hosts may use
// it, or it is off.
func TestClosedSite(t *testing.T) {
	const hostname, closed = "hostname = \"mail.office.example\"\n", "[sites.smtp]\nanonymous = false\noffer_auth = false\n"
	for text, want := range map[string]bool{
		closed:                        true,
		"listen.smtp = []\n" + closed: false,
		closed + "[anonymous]\nexceptions = [\"192.0.2.7\"]\n":                              false,
		closed + "[anonymous]\nexceptions = [\"192.0.2.7\"]\nallow_exceptions = false\n":    true,
		"[sites.submission]\nanonymous = false\noffer_auth = false\nrequire_auth = false\n": true,
		"[sites.smtp]\nanonymous = true\noffer_auth = false\n":                              false,
	} {
		_, err := load(t, hostname+text)
		got := err != nil && strings.Contains(err.Error(), "offers no login and takes no mail without one")
		if got != want || err != nil && !want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
