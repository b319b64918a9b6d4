package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports is the plan of the house: which of our packages each may import. It
// is a statement of policy; a change to it is a change of the design and wants
// its reason in the commit. "cmd/..." packages may import anything below cmd
// and every package outside it; nothing outside imports cmd.
var imports = map[string]string{
	"mailstore/addr":      "",
	"mailstore/durable":   "",
	"mailstore/caught":    "",                              // for all whose work begins with what others sent
	"mailstore/foreign":   "",                              // for all that speak to other servers: they pass on what those say
	"mailstore/mailtext":  "",                              // for all that take mail from elsewhere
	"mailstore/head":      "mailstore/addr",                // what rules and absences know of a message
	"mailstore/rules":     "mailstore/addr mailstore/head", // pure: the directory stores them
	"mailstore/absence":   "mailstore/addr mailstore/durable mailstore/head mailstore/rules",
	"mailstore/directory": "mailstore/absence mailstore/addr mailstore/durable mailstore/rules",
	"mailstore/auth":      "mailstore/addr mailstore/auth/ntlm mailstore/directory mailstore/durable mailstore/track",
	"mailstore/auth/ntlm": "",
	// tokens for logins to other servers, by SMTP and by POP3
	"mailstore/auth/oauth": "mailstore/durable mailstore/foreign",
	"mailstore/ldap":       "mailstore/addr mailstore/caught mailstore/durable mailstore/foreign",
	"mailstore/system":     "",
	"mailstore":            "mailstore/durable mailstore/mailtext",
	"mailstore/track":      "mailstore/durable", // for all in which something happens to mail
	"mailstore/sessions":   "",                  // for all that serve clients: they share one table
	"mailstore/dialogue":   "",                  // for all that serve clients: logs read what is said
	"etc/lab/mailtest":     "mailstore/durable",
	"etc/lab/benchtable":   "",
	"etc/lab/dsntest":      "",
	"etc/lab/queuebench":   "mailstore mailstore/addr mailstore/durable smtp smtp/queue",
	"etc/lab/crash":        "",
	"etc/lab/crash/guest":  "mailstore mailstore/durable",
	"quota":                "",
	"quota/quotamail":      "mailstore/addr mailstore/durable quota",
	"tls/certs":            "mailstore/durable tls/strength",
	"tls/acme":             "mailstore/caught mailstore/durable mailstore/foreign",
	"tls/strength":         "",
	"smtp":                 "mailstore/addr",
	"smtp/policy":          "mailstore/addr smtp smtp/route smtp/srs",
	"smtp/connlimit":       "",
	"smtp/wire":            "mailstore/addr mailstore/caught mailstore/dialogue mailstore/mailtext mailstore/sessions smtp",
	"smtp/dns":             "mailstore/addr mailstore/caught smtp/policy",
	"smtp/rate":            "",
	"smtp/devices":         "mailstore/durable smtp/policy",
	"smtp/decisionlog":     "mailstore/addr mailstore/durable smtp/policy",
	"smtp/route":           "mailstore/addr mailstore/auth/oauth",
	"smtp/remote":          "mailstore/addr mailstore/auth/ntlm mailstore/auth/oauth mailstore/caught mailstore/durable mailstore/foreign mailstore/head mailstore/mailtext smtp smtp/arc smtp/dkim smtp/dns smtp/footer smtp/route",
	"smtp/dsn":             "mailstore/addr smtp",
	"smtp/footer":          "mailstore/head", // pure: places in a message
	"smtp/arc":             "",
	"smtp/srs":             "mailstore/addr mailstore/durable",
	"smtp/dkim":            "mailstore/addr mailstore/durable",
	"smtp/verify":          "mailstore/addr mailstore/caught smtp smtp/dns",
	"smtp/queue":           "mailstore mailstore/addr mailstore/caught mailstore/durable mailstore/track smtp smtp/dsn smtp/route",
	"smtp/pickup":          "mailstore/addr mailstore/caught mailstore/mailtext smtp",
	"smtp/badmail":         "mailstore/durable",
	"smtp/delivery":        "mailstore mailstore/absence mailstore/addr mailstore/directory mailstore/head mailstore/rules mailstore/track smtp smtp/badmail smtp/dsn smtp/queue smtp/rate",
	"smtp/server":          "mailstore mailstore/addr mailstore/auth mailstore/directory mailstore/mailtext mailstore/sessions mailstore/track smtp smtp/connlimit smtp/decisionlog smtp/delivery smtp/policy smtp/queue smtp/rate smtp/route smtp/verify smtp/wire tls/strength",
	"pop3":                 "mailstore mailstore/auth mailstore/dialogue mailstore/sessions mailstore/track tls/strength",
	"pop3/collect":         "mailstore/addr mailstore/auth/oauth mailstore/caught mailstore/durable mailstore/foreign",
}

// barred are the imports below cmd that would turn the plan around. admin does the verbs, control
// carries them, daemon and the command line use both.
var barred = map[string]string{
	"cmd/internal/admin":   "cmd/internal/control cmd/internal/daemon",
	"cmd/internal/control": "cmd/internal/daemon",
	"cmd/internal/web":     "cmd/internal/control cmd/internal/daemon",
}

// libraries are the modules that may be linked into the binary, and who may
// import them directly.
var libraries = map[string]string{
	"github.com/emersion/go-smtp":     "smtp/server smtp/wire cmd/internal/selftest",
	"github.com/emersion/go-sasl":     "mailstore/auth smtp/server smtp/wire cmd/internal/selftest",
	"github.com/emersion/go-msgauth":  "smtp/dkim smtp/verify cmd/internal/dnscheck",
	"blitiri.com.ar/go/spf":           "smtp/verify cmd/internal/dnscheck",
	"github.com/miekg/dns":            "smtp/remote",
	"github.com/knadh/koanf":          "cmd/internal/config",
	"github.com/pelletier/go-toml":    "cmd/internal/config",
	"github.com/spf13/cobra":          "cmd/pillarbox",
	"github.com/spf13/pflag":          "cmd/pillarbox",
	"golang.org/x/crypto":             "etc/lab/mailtest mailstore/auth mailstore/auth/ntlm tls/acme",
	"software.sslmate.com/src":        "tls/certs",
	"golang.org/x/oauth2":             "mailstore/auth/oauth",
	"golang.org/x/net":                "mailstore/addr etc/lab/mailtest smtp/verify",
	"golang.org/x/text":               "mailstore/addr mailstore/auth mailstore/auth/ntlm smtp/footer cmd/internal/admin cmd/internal/web",
	"golang.org/x/term":               "cmd/pillarbox",
	"golang.org/x/sys":                "mailstore/durable smtp/pickup cmd/internal/sysinfo cmd/pillarbox",
	"golang.org/x/sync":               "mailstore mailstore/ldap",
	"github.com/go-ldap/ldap":         "mailstore/ldap",
	"github.com/go-asn1-ber/asn1-ber": "mailstore/ldap",
	"github.com/smallstep/pkcs7":      "tls/certs", // signatures of the server
	// codes of a second factor, and the QR codes that a telephone scans
	"github.com/pquerna/otp":       "mailstore/auth",
	"github.com/boombuler/barcode": "cmd/internal/web",
	// figures in the form that Prometheus reads
	"github.com/prometheus/client_golang": "cmd/internal/metrics",
	// what systemd passes, and is told
	"github.com/coreos/go-systemd": "cmd/internal/systemd",
	// spans in the form that collectors of OpenTelemetry read
	"go.opentelemetry.io":        "cmd/internal/telemetry",
	"google.golang.org/protobuf": "cmd/internal/telemetry",
}

type listed struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "pillarbox/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportPolicy(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, "pillarbox/")
		allowed, planned := imports[name]
		inCmd := strings.HasPrefix(name, "cmd/")
		seen[name] = true
		if !planned && !inCmd {
			t.Errorf("package %s is not in the plan of the house", name)
		}
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, "pillarbox/"); ok {
				if strings.HasPrefix(ours, "etc/lab/") && !strings.HasPrefix(name, "etc/lab/") {
					t.Errorf("%s is product and imports %s, which is for tests and benchmarks", name, ours)
				}
				if slices.Contains(strings.Fields(barred[name]), ours) {
					t.Errorf("%s imports %s, which is above it", name, ours)
				}
				if !inCmd && !slices.Contains(strings.Fields(allowed), ours) {
					t.Errorf("%s imports %s, against the plan", name, ours)
				}
				continue
			}
			if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") && !mayImport(name, imported) {
				t.Errorf("%s imports %s, against the plan", name, imported)
			}
		}
	}
	for name := range imports {
		if !seen[name] {
			t.Errorf("package %s is in the plan and not in the house", name)
		}
	}
}

func mayImport(name, library string) bool {
	for module, who := range libraries {
		if library == module || strings.HasPrefix(library, module+"/") {
			return slices.Contains(strings.Fields(who), name)
		}
	}
	return false
}
