package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// office writes a configuration and a policy file, and loads them.
func office(t *testing.T, text, policy string, environ ...string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"pillarbox.toml": text, PolicyFileName: policy} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(filepath.Join(dir, "pillarbox.toml"), environ)
}

const policyOffice = "hostname = \"mail.office.example\"\ndata = \".\"\n"

func TestPolicyFile(t *testing.T) {
	for _, tt := range []struct {
		name, text, policy string
		environ            []string
		key, value, source string
	}{
		{"wins over the file", "[senders]\ndeny = [\"a.example\"]", "[senders]\ndeny = [\"b.example\"]", nil,
			"senders.deny", `["b.example"]`, "policy.toml:2"},
		{"the environment wins", "", "[senders]\ndeny = [\"b.example\"]", []string{"PILLARBOX_SENDERS_DENY=c.example"},
			"senders.deny", `["c.example"]`, "env PILLARBOX_SENDERS_DENY"},
		{"says nothing of the key", "[senders]\ndeny = [\"a.example\"]", "[recipients]\ndeny = []", nil,
			"senders.deny", `["a.example"]`, "pillarbox.toml:4"},
		{"has a group of its own", "", "[groups]\nspam = [\"b.example\"]\n[senders]\ndeny = [\"group:spam\"]", nil,
			"senders.deny", `["group:spam"]`, "policy.toml:4"},
		{"sets a filter", "", "[dnsbl]\nprivate_deny = [\"192.0.2.0/24\"]\n[authenticity]\nspf = \"mark\"", nil,
			"dnsbl.private_deny", `["192.0.2.0/24"]`, "policy.toml:2"},
		{"is empty", "[senders]\nverify_domain = true", "", nil, "senders.verify_domain", "true", "pillarbox.toml:4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := office(t, policyOffice+tt.text, tt.policy, tt.environ...)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range c.Explain() {
				if k.Key == tt.key && (k.Value != tt.value || k.Source != tt.source) {
					t.Errorf("%s = %s by %s, want %s by %s", k.Key, k.Value, k.Source, tt.value, tt.source)
				}
			}
			if file := filepath.Base(c.File()); file != "pillarbox.toml" {
				t.Errorf("the configuration file is %s", file)
			}
		})
	}
}

func TestPolicyFileMistakes(t *testing.T) {
	for _, tt := range []struct{ policy, want string }{
		{"data = \"/elsewhere\"", "policy.toml:1: data: cannot be set in this file"},
		{"[tls]\nkey = \"/etc/shadow\"", "policy.toml:2: tls.key: cannot be set in this file"},
		{"[relay]\ni_know_this_is_an_open_relay = true", "policy.toml:2: relay.i_know_this_is_an_open_relay: cannot be set in this file"},
		{"[[route]]\ndomains = [\"x.example\"]", "policy.toml:1: route: cannot be set in this file"},
		{"[senders]\ndenied = []", "policy.toml:2: senders.denied: unknown key"},
		{"[senders]\ndeny = [\"not an address\"]", "policy.toml:2: senders.deny: "},
		{"[relay]\nenforcement = \"none\"", "policy.toml:2: relay.enforcement: "},
		{"[senders", "policy.toml:1: "},
	} {
		_, err := office(t, policyOffice, tt.policy)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.policy, err, tt.want)
		}
	}
}

// What Text writes, ParsePolicyFile reads, and Load takes.
func TestPolicyFileText(t *testing.T) {
	f := PolicyFile{}
	for _, set := range []struct {
		key    string
		values []string
	}{
		{"senders.deny", []string{"b.example", `"odd \ one"@c.example`}},
		{"recipients.deny", nil},
		{"senders.verify_domain", []string{"true"}},
		{"outside.per_hour", []string{"100"}},
		{"relay.enforcement", []string{"external"}},
		{"sites.smtp.require_tls", []string{"true"}},
		{"groups.spam", []string{"d.example"}},
	} {
		if err := f.Set(set.key, set.values); err != nil {
			t.Fatal(err)
		}
	}
	again, err := ParsePolicyFile(f.Text())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(again.Text()), string(f.Text()); got != want {
		t.Errorf("read back:\n%s\nwant\n%s", got, want)
	}
	golden(t, "testdata/policyfile.golden", f.Text())
}

func TestPolicyFileSet(t *testing.T) {
	for _, tt := range []struct {
		key    string
		values []string
		want   string
	}{
		{"senders.deni", nil, "did you mean senders.deny"},
		{"tls.key", []string{"x"}, "cannot be set by an operator"},
		{"senders.verify_domain", nil, "it has one value"},
		{"senders.verify_domain", []string{"yes"}, "neither true nor false"},
		{"outside.per_hour", []string{"ten"}, "not a whole number"},
		{"route[0].domains", []string{"x"}, "unknown key"},
		{"groups.Bad Name", []string{"x"}, "unknown key"},
	} {
		if err := (PolicyFile{}).Set(tt.key, tt.values); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: %v, want %q", tt.key, tt.values, err, tt.want)
		}
	}
}

// Every key is explained.
func TestExplain(t *testing.T) {
	c := mustLoad(t, policyOffice)
	for _, k := range c.Explain() {
		if k.Doc == "" || strings.Contains(k.Doc, above) {
			t.Errorf("%s has no text", k.Key)
		}
		if k.List() != strings.HasPrefix(k.Value, "[") {
			t.Errorf("%s = %s is %s", k.Key, k.Value, k.Kind)
		}
	}
}
