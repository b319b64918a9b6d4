package checks

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/dnscheck"
	"pillarbox/cmd/internal/doctor"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/cmd/internal/selftest"
	"pillarbox/cmd/internal/sysinfo"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/track"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
	"pillarbox/tls/certs"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// judged is a case: what was found, and the findings as "severity: message" with a pattern.
type judged struct {
	name string
	got  findings
	want []string // a regular expression for each finding, such as "^error: only 1"
}

func judge(t *testing.T, cases []judged) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Helper()
			if len(c.got) != len(c.want) {
				t.Fatalf("%+v, want %q", c.got, c.want)
			}
			for i, f := range c.got {
				text := string(f.Severity) + ": " + f.Message
				if !regexp.MustCompile(c.want[i]).MatchString(text) {
					t.Errorf("%q, want %q", text, c.want[i])
				}
				if f.Severity.Problem() && f.Fix == "" {
					t.Errorf("%q has no fix", text)
				}
			}
		})
	}
}

func TestConfig(t *testing.T) {
	right, warned := config.Default(), config.Default()
	warned.Warnings = []string{"pillarbox.toml:3: too wide"}
	judge(t, []judged{
		{"right", judgeConfig(&right, nil), []string{"^ok: "}},
		{"warned", judgeConfig(&warned, nil), []string{"^warning: pillarbox.toml:3: too wide"}},
		{"mistakes", judgeConfig(nil, config.Errors{
			{File: "p.toml", Line: 2, Key: "smtp.x", What: "is no key"}, {File: "p.toml", Key: "data", What: "is missing"},
		}), []string{"^error: p.toml:2: smtp.x: is no key", "^error: p.toml: data: is missing"}},
		{"not readable", judgeConfig(nil, config.Errors{{File: "p.toml", What: "cannot be read", Err: fs.ErrPermission}}),
			[]string{"^error: p.toml: cannot be read$"}},
		{"missing", judgeConfig(nil, fs.ErrNotExist), []string{"^error: .*not exist"}},
	})
}

func TestData(t *testing.T) {
	judge(t, []judged{
		{"private", judgeDataMode("/d", fs.ModeDir|0o750), []string{"^ok: "}},
		{"open", judgeDataMode("/d", fs.ModeDir|0o755), []string{`^error: every user .*mode 755`}},
	})
}

func TestServer(t *testing.T) {
	judge(t, []judged{
		{"answers", judgeServer(nil, 7), []string{"^ok: .*process 7"}},
		{"is not there", judgeServer(admin.ErrNotRunning, 0), []string{"^error: the server is not running"}},
		{"does not answer", judgeServer(admin.ErrNotRunning, 7), []string{"^error: process 7 .*does not answer"}},
		{"fails", judgeServer(errors.New("broken off"), 7), []string{"^error: the server runs, but .*broken off"}},
	})
}

func TestFromAdmin(t *testing.T) {
	judge(t, []judged{
		{"notes are left out", orOK(fromAdmin([]admin.Finding{{Text: "a note", Note: true}}), "fine"), []string{"^ok: fine"}},
		{"a problem", fromAdmin([]admin.Finding{{File: "log/log0", Text: "damaged", Hint: "restore it"}}), []string{`^error: "log/log0": damaged`}},
	})
}

func TestDisk(t *testing.T) {
	const g = 1 << 30
	judge(t, []judged{
		{"no backups", judgeBackup(admin.BackupStatus{}), []string{"^ok: .*not set"}},
		{"no backup yet", judgeBackup(admin.BackupStatus{Dir: "/b"}), []string{"^ok: no backup"}},
		{"a backup", judgeBackup(admin.BackupStatus{Dir: "/b", Success: time.Now()}), []string{"^ok: the last"}},
		{"no fresh backup", judgeBackup(admin.BackupStatus{Dir: "/b", Fault: "is late"}), []string{"^error: is late"}},
		{"enough", judgeDisk("/d", durable.DiskSpace{Size: 100 * g, Free: 50 * g}), []string{"^ok: "}},
		{"enough on a large one", judgeDisk("/d", durable.DiskSpace{Size: 1000 * g, Free: 20 * g}), []string{"^ok: "}},
		{"a tenth", judgeDisk("/d", durable.DiskSpace{Size: 100 * g, Free: 9 * g}), []string{"^warning: only "}},
		{"little", judgeDisk("/d", durable.DiskSpace{Size: 2 * g, Free: g / 2}), []string{"^warning: only "}},
		{"full", judgeDisk("/d", durable.DiskSpace{Size: 100 * g, Free: g / 5}), []string{"^error: only "}},
		{"read-only", judgeDisk("/d", durable.DiskSpace{Size: 100 * g, Free: 50 * g, ReadOnly: true}), []string{"^error: .*read-only"}},
	})
}

func TestInodes(t *testing.T) {
	judge(t, []judged{
		{"enough", judgeInodes("/d", durable.DiskSpace{Files: 1000, FreeFiles: 500}), []string{"^ok: 500 of 1000"}},
		{"few", judgeInodes("/d", durable.DiskSpace{Files: 1000, FreeFiles: 40}), []string{"^warning: only 40"}},
		{"hardly any", judgeInodes("/d", durable.DiskSpace{Files: 1000, FreeFiles: 9}), []string{"^error: only 9"}},
		{"made as needed", judgeInodes("/d", durable.DiskSpace{}), []string{"^ok: .*as they are needed"}},
	})
}

func TestClock(t *testing.T) {
	judge(t, []judged{
		{"right", judgeClock(sysinfo.Clock{Known: true, Synchronized: true, Offset: -0.0003}), []string{"^ok: .*0.000300 s"}},
		{"alone", judgeClock(sysinfo.Clock{Known: true}), []string{"^warning: the kernel says that no program"}},
		{"far off", judgeClock(sysinfo.Clock{Known: true, Synchronized: true, Offset: -3}), []string{"^warning: .*off by about 3.000 s"}},
		{"uncertain", judgeClock(sysinfo.Clock{Known: true, Synchronized: true, MaxError: 9}), []string{"^ok: "}},
	})
}

func TestDescriptors(t *testing.T) {
	for line, want := range map[string]uint64{
		"Max open files            1024                 524288               files     ": 1024,
		"Max open files            unlimited            unlimited            files     ": 1 << 30,
		"Max processes             15                   15                   processes ": 0,
	} {
		if n, ok := openFilesLimit(line); n != want || ok != (want > 0) {
			t.Errorf("%s: %d, %v", line, n, ok)
		}
	}
	judge(t, []judged{
		{"enough", judgeDescriptors(40, 65536, 1000), []string{"^ok: .*40 files"}},
		{"too low a limit", judgeDescriptors(40, 1024, 1000), []string{"^warning: .*limits.connections is 1000"}},
		{"nearly all", judgeDescriptors(1000, 1024, 100), []string{"^error: .*1000 files open"}},
	})
	if open, limit, err := filesOf(os.Getpid()); err != nil || open < 3 || limit < 3 {
		t.Errorf("this process: %d files, at most %d, %v", open, limit, err)
	}
}

func TestSync(t *testing.T) {
	judge(t, []judged{
		{"a disk", judgeSync("ext4", true, 2*time.Millisecond), []string{"^ok: a sync took 2ms.*cannot be seen"}},
		{"a cache", judgeSync("ext4", true, 9*time.Microsecond), []string{"^warning: .*9µs, which is faster.*could then lose"}},
		{"slow", judgeSync("ext4", true, time.Second), []string{"^warning: .*each message waits"}},
		{"memory", judgeSync("tmpfs", true, time.Microsecond), []string{"^error: .*in memory"}},
		{"a network", judgeSync("nfs", false, time.Millisecond), []string{"^warning: .*nfs"}},
	})
	e := newEnv(t)
	if took, err := measureSync(t.Context(), e.Data.Root); err != nil || took <= 0 {
		t.Errorf("a sync took %v, %v", took, err)
	}
	if left, err := filepath.Glob(filepath.Join(e.Config.Data, ".doctor*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// newEnv returns an Env with an empty data directory and a fake machine. No server runs.
func newEnv(t *testing.T) *Env {
	t.Helper()
	cfg := config.Default()
	cfg.Hostname, cfg.Data = "mail.office.example", t.TempDir()
	if err := os.Chmod(cfg.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	office, err := admin.Open(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { office.Close() })
	return &Env{
		Config: &cfg, Data: office, Now: func() time.Time { return noon }, Offline: true,
		Server: Server{
			TLSClients: func(context.Context) ([]certs.Client, error) { return nil, admin.ErrNotRunning },
			Queue: func(context.Context, admin.QueueQuestion) (admin.QueueListing, error) {
				return admin.QueueListing{}, nil
			},
		},
		Machine: Machine{
			Interfaces: func() ([]netinfo.Interface, error) { return nil, nil },
			Space:      func(string) (durable.DiskSpace, error) { return durable.DiskSpace{Size: 1 << 40, Free: 1 << 39}, nil },
			Clock:      func() sysinfo.Clock { return sysinfo.Clock{Known: true, Synchronized: true} },
			Files:      func(int) (int, uint64, error) { return 10, 65536, nil },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("no network")
			},
			Etc: fstest.MapFS{},
		},
	}
}

// All checks can be done without a server, and without a configuration. Each says why it matters.
func TestList(t *testing.T) {
	for name, e := range map[string]*Env{
		"no server": newEnv(t),
		"no configuration": {
			ConfigErr: fs.ErrNotExist, Now: time.Now,
			Machine: Machine{Clock: func() sysinfo.Clock { return sysinfo.Clock{} }},
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			report := doctor.Run(t.Context(), List(e), doctor.Options{}, noon)
			for _, r := range report.Results {
				if r.Why == "" || len(r.Findings) == 0 || seen[r.Check] {
					t.Errorf("%s: %q, %v", r.Check, r.Why, r.Findings)
				}
				seen[r.Check] = true
				for _, f := range r.Findings {
					if strings.Contains(f.Message, "mistake of the program") {
						t.Errorf("%s: %s", r.Check, f.Message)
					}
				}
			}
			if n := report.Counts(); n.Errors == 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// The guide explains every check.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "etc", "docs", "doctor.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if !strings.Contains(string(guide), "`"+name+"`") {
			t.Errorf("etc/docs/doctor.md does not explain %s", name)
		}
	}
}

// answering is a dialer whose servers at some addresses send a line.
func answering(lines map[string]string) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		line, ok := lines[address]
		if !ok {
			return nil, errors.New("connection refused")
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			fmt.Fprintf(there, "%s\r\n", line)
			there.Read(make([]byte, 10))
		}()
		return here, nil
	}
}

func TestPorts(t *testing.T) {
	e := newEnv(t)
	lan := netinfo.Interface{Name: "eth0", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.10/24")}}
	e.Machine.Interfaces = func() ([]netinfo.Interface, error) { return []netinfo.Interface{lan}, nil }
	e.Config.Listen = config.Listen{SMTP: []string{":25"}, POP3: []string{"127.0.0.1:110"}}
	e.Machine.Dial = answering(map[string]string{
		":25": "220 mail.office.example", "127.0.0.1:110": "+OK", "192.168.1.10:25": "220 mail.office.example",
	})
	right, rightLAN := e.ports(t.Context()), e.lanPorts(t.Context())
	e.Machine.Dial = answering(map[string]string{":25": "SSH-2.0"})
	wrong, wrongLAN := e.ports(t.Context()), e.lanPorts(t.Context())
	e.Config.Listen.SMTP = nil
	loopback := e.lanPorts(t.Context())
	judge(t, []judged{
		{"right", right, []string{"^ok: 2 listeners"}},
		{"right in the LAN", rightLAN, []string{"^ok: 1 ports answer at 192.168.1.10"}},
		{"wrong", wrong, []string{"^error: smtp at :25: .*SSH", "^error: pop3 .*cannot connect: connection refused"}},
		{"wrong in the LAN", wrongLAN, []string{"^error: smtp at 192.168.1.10:25: cannot connect"}},
		{"only loopback", loopback, []string{"^warning: no service listens on 192.168.1.10"}},
	})
}

func TestFirewall(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	ufw := func(rules string) fstest.MapFS {
		return fstest.MapFS{"etc/ufw/ufw.conf": file("ENABLED=yes\n"), "etc/ufw/user.rules": file(rules)}
	}
	zone := func(inner string) fstest.MapFS {
		return fstest.MapFS{"run/firewalld": {Mode: fs.ModeDir}, "etc/firewalld/zones/public.xml": file("<zone>" + inner + "</zone>")}
	}
	of := func(etc fstest.MapFS) findings { return judgeFirewall(readFirewall(etc), []int{25, 995}) }
	hidden := ufw("")
	delete(hidden, "etc/ufw/user.rules")
	judge(t, []judged{
		{"none", of(fstest.MapFS{}), []string{"^ok: neither ufw nor firewalld"}},
		{"ufw off", of(fstest.MapFS{"etc/ufw/ufw.conf": file("ENABLED=no\n")}), []string{"^ok: neither"}},
		{"ufw open", of(ufw("### tuple ### allow tcp 25,990:999 0.0.0.0/0 any 0.0.0.0/0 in\n")), []string{"^ok: ufw is on"}},
		{"ufw shut", of(ufw("### tuple ### deny tcp 995 0.0.0.0/0 any 0.0.0.0/0 in\n### tuple ### allow tcp 25 0.0.0.0/0 any 0.0.0.0/0 in\n")),
			[]string{"^warning: ufw .* port 995$"}},
		{"ufw hidden", of(hidden), []string{"^skipped: .*as root"}},
		{"firewalld open", of(zone(`<service name="pop3s"/><port protocol="tcp" port="20-30"/>`)), []string{"^ok: firewalld is on"}},
		{"firewalld shut", of(zone(`<service name="ssh"/><port protocol="udp" port="25"/>`)), []string{"^warning: firewalld .* port 25, 995$"}},
		{"nothing to open", judgeFirewall(firewall{}, nil), []string{"^ok: no port"}},
	})
}

func TestLANName(t *testing.T) {
	own := []netip.Addr{ip("192.168.1.10")}
	of := func(err error, found ...string) findings {
		var all []netip.Addr
		for _, s := range found {
			all = append(all, ip(s))
		}
		return judgeLANName("mail.office.example", all, err, own)
	}
	judge(t, []judged{
		{"right", of(nil, "192.168.1.10"), []string{"^ok: "}},
		{"unknown", of(&net.DNSError{IsNotFound: true}), []string{"^warning: .*does not know"}},
		{"no answer", of(&net.DNSError{Err: "timeout"}), []string{"^warning: .*does not answer"}},
		{"another machine", of(nil, "192.168.1.99"), []string{"^warning: .*192.168.1.99, which is not this machine"}},
		{"public", of(nil, "203.0.113.7"), []string{"^warning: .*public address"}},
		{"hosts file", of(nil, "127.0.1.1"), []string{"^skipped: .*hosts file"}},
	})
}

func TestCertificates(t *testing.T) {
	valid := certs.Info{Source: certs.FromFiles, Names: []string{"mail.office.example"},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(90 * 24 * time.Hour)}
	expired := valid
	expired.NotAfter = noon.Add(-time.Minute)
	own := valid
	own.Source, own.IPs = certs.FromOwnCA, []netip.Addr{ip("192.168.1.10")}
	soon := []string{"The certificate expires on 2026-12-07 00:00 UTC."}
	of := func(i certs.Info, warnings []string, fault error) findings {
		return judgeCertificates([]certs.Info{i}, warnings, fault, noon)
	}
	judge(t, []judged{
		{"valid", of(valid, nil, nil), []string{"^ok: valid to 2027-02-28"}},
		{"soon", of(valid, soon, nil), []string{"^warning: The certificate expires"}},
		{"expired", of(expired, []string{"The certificate expired."}, nil), []string{"^error: The certificate expired"}},
		{"not in use", of(own, []string{"tls.cert is unusable."}, errors.New("unusable")), []string{"^error: tls.cert is unusable"}},
		{"names", judgeNames(own, "mail.office.example", own.IPs), []string{"^ok: "}},
		{"another name", judgeNames(own, "mx.office.example", nil), []string{"^error: .*not for mx.office.example"}},
		{"another address", judgeNames(own, "mail.office.example", []netip.Addr{ip("192.168.1.11")}), []string{"^warning: .*192.168.1.11"}},
		{"a public one has no addresses", judgeNames(valid, "mail.office.example", own.IPs), []string{"^ok: "}},
	})
}

func TestChain(t *testing.T) {
	root, rootKey := issue(t, "root", true, nil, nil)
	between, betweenKey := issue(t, "between", true, root, rootKey)
	leaf, _ := issue(t, "mail.office.example", false, between, betweenKey)
	self, _ := issue(t, "self", false, nil, nil)
	known, unknown := x509.NewCertPool(), x509.NewCertPool()
	known.AddCert(root)
	of := func(roots *x509.CertPool, now time.Time, chain ...*x509.Certificate) findings {
		return judgeChain("cert.pem", chain, roots, now)
	}
	judge(t, []judged{
		{"whole", of(known, noon, leaf, between), []string{"^ok: "}},
		{"no intermediate", of(known, noon, leaf), []string{"^error: cert.pem lacks the intermediate"}},
		{"unknown CA", of(unknown, noon, leaf, between), []string{`^warning: this machine does not know the CA "root"`}},
		{"signed by itself", of(known, noon, self), []string{"^warning: .*signed by itself"}},
		{"expired", of(known, noon.Add(48*time.Hour), leaf, between), []string{"^error: .*expired"}},
		{"empty", of(known, noon), []string{"^error: cert.pem has no certificate"}},
	})
}

func TestRecords(t *testing.T) {
	all := []dnscheck.Finding{
		{Record: dnscheck.MX, About: "a.example", Found: "MX mail leads here"},
		{Record: dnscheck.MX, About: "b.example", Found: "has no MX record", Do: "add it"},
		{Record: dnscheck.SPF, About: "a.example", Found: "has no SPF record", Do: "add it"},
	}
	judge(t, []judged{
		{"MX", judgeRecords(dnscheck.MX, all), []string{"^ok: a.example: MX mail", "^warning: b.example: has no MX"}},
		{"PTR", judgeRecords(dnscheck.PTR, all), []string{"^ok: nothing to check"}},
	})
}

func TestDNSServer(t *testing.T) {
	cfg := config.Default()
	cfg.Hostname, cfg.Authenticity.Sign, cfg.Outbound.Enabled = "mail.office.example", true, true
	cfg.Listen = config.Listen{SMTPS: []string{":465"}, POP3S: []string{":995"}}
	s := admin.DNSServer(&cfg, nil, []addr.Domain{"office.example"}, []admin.DKIMKey{
		{Domain: "office.example", Record: admin.DNSRecord{Value: "v=DKIM1; p=x"}}, {Domain: "office.example", Problem: "damaged"},
	})
	if len(s.Keys) != 1 || !s.Signs || s.SmartHost || fmt.Sprint(s.Services) != "[{submissions 465} {pop3s 995}]" {
		t.Errorf("%+v", s)
	}
	cfg.Outbound.Enabled, cfg.Routes.Default.SmartHost = false, []route.Host{{Name: "smtp.isp.example"}}
	if s := admin.DNSServer(&cfg, nil, nil, nil); s.Signs || !s.SmartHost {
		t.Errorf("%+v", s)
	}
}

func TestRelay(t *testing.T) {
	judge(t, []judged{
		{"closed", judgeRelay([]selftest.RelayResult{{Service: "smtp", Tried: 90}}), []string{"^ok: none of 90"}},
		{"open", judgeRelay([]selftest.RelayResult{{Service: "smtp", Tried: 90, Open: []string{"plain"}}}), []string{"^error: .*relays for anyone"}},
		{"broken", judgeRelay([]selftest.RelayResult{{Service: "smtp", Err: errors.New("refused")}}), []string{"^warning: .*could not be tested: refused"}},
	})
}

func TestSmartHost(t *testing.T) {
	host := []route.Host{{Name: "smtp.isp.example"}}
	table := route.Table{
		Routes: []route.Route{
			{Name: "partner", Domains: []string{"*.partner.example"}, SmartHost: host, User: "u"},
			{Name: "direct", Domains: []string{"x.example"}}, {Name: "lmtp", SmartHost: host, LMTP: true},
		},
		Default: route.Route{Name: "default", SmartHost: host},
	}
	if got := fmt.Sprint(smartHosts(table)); got != "[{partner postmaster@test.partner.example true} {default postmaster@relay-test.invalid false}]" {
		t.Error(got)
	}
	step := func(name string, ok bool) remote.Step {
		return remote.Step{Name: name, OK: ok, Text: "text of " + name}
	}
	of := func(login bool, steps ...remote.Step) findings {
		e := newEnv(t)
		e.Config.Routes = route.Table{Default: route.Route{Name: "default", SmartHost: host}}
		if login {
			e.Config.Routes.Default.User = "u"
		}
		e.Server.TestRoute = func(context.Context, admin.RouteQuestion) (admin.RouteReport, error) {
			return admin.RouteReport{Steps: steps}, nil
		}
		return e.smartHost(t.Context())
	}
	none := newEnv(t)
	judge(t, []judged{
		{"login", of(true, step("ehlo", true), step("auth", true), step("rcpt", false)), []string{"^ok: 1 smart hosts"}},
		{"wrong password", of(true, step("ehlo", true), step("auth", false)), []string{"^error: .*step auth: text of auth"}},
		{"no login needed", of(false, step("ehlo", true), step("mail", false)), []string{"^ok: "}},
		{"not reached", of(false, step("connect", false)), []string{"^error: .*step connect"}},
		{"the second host", of(true, step("connect", false), step("auth", true)), []string{"^ok: "}},
		{"login not offered", of(true, step("ehlo", true), step("mail", true)), []string{"^error: .*not ready"}},
		{"none", none.smartHost(t.Context()), []string{"^ok: no route"}},
	})
}

func TestSecrets(t *testing.T) {
	cfg, weak := config.Default(), config.Default()
	cfg.Data, cfg.Passwords.MinLength, cfg.Passwords.DenyCommon = "/d", 10, true
	weak.Passwords.MinLength, weak.Passwords.DenyCommon, weak.LogIns.NTLMv1 = 4, false, true
	mode := func(m fs.FileMode) func(string) (fs.FileMode, error) {
		return func(string) (fs.FileMode, error) { return m, nil }
	}
	missing := func(string) (fs.FileMode, error) { return 0, fs.ErrNotExist }
	judge(t, []judged{
		{"private", judgeModes([]string{"/k"}, mode(0o640)), nil},
		{"missing", judgeModes([]string{"/k"}, missing), nil},
		{"open", judgeModes([]string{"/k"}, mode(0o644)), []string{"^error: every user .*/k.*644"}},
		{"strict", judgeRules(&cfg), nil},
		{"weak", judgeRules(&weak), []string{"^warning: .*4 characters", "^warning: .*try first", "^warning: NTLM version 1"}},
		{"used", judgeStored(map[directory.SecretKind]int{directory.SecretSPA: 3}, []string{"PLAIN", "NTLM"}), nil},
		{"not used", judgeStored(map[directory.SecretKind]int{directory.SecretCRAM: 3}, []string{"PLAIN"}), []string{`^warning: 3 mailboxes store the secret "cram-md5"`}},
	})
	if files := secretFiles(&cfg); fmt.Sprint(files) != "[/d/secrets.key]" {
		t.Error(files)
	}
}

func TestTLSClients(t *testing.T) {
	client := func(address string) certs.Client {
		return certs.Client{Address: ip(address), Service: "pop3", Protocol: "TLS 1.0", Last: noon}
	}
	legacy, refused := client("192.168.1.7"), client("192.168.1.8")
	legacy.Legacy, refused.Refused = true, true
	var many []certs.Client
	for range 2 * mostClients {
		many = append(many, legacy)
	}
	judge(t, []judged{
		{"modern", judgeTLSClients([]certs.Client{client("192.168.1.9")}), []string{"^ok: none of 1"}},
		{"old", judgeTLSClients([]certs.Client{legacy, refused}), []string{"^warning: 192.168.1.7 uses TLS 1.0", "^warning: 192.168.1.8 was refused"}},
	})
	if all := judgeTLSClients(many); len(all) != mostClients+1 || all[mostClients].Message != "10 more" {
		t.Errorf("%d findings, the last is %+v", len(all), all[len(all)-1])
	}
}

func TestPlaintextPOP3(t *testing.T) {
	login := func(edit func(*track.Event)) findings {
		e := track.Event{
			Kind: track.LoggedIn, Service: "pop3", Time: noon, Remote: ip("192.168.1.7"),
			User: "anna@office.example", Text: "password",
		}
		edit(&e)
		last := make(plainLogins)
		last.add(&e)
		e.Time = e.Time.Add(-time.Hour)
		last.add(&e)
		return last.judge()
	}
	judge(t, []judged{
		{"plain", login(func(*track.Event) {}), []string{"^warning: .*POP3 without TLS from 192.168.1.7 as anna@office.example .last " + noon.Format("2006-01-02T15:04")}},
		{"APOP", login(func(e *track.Event) { e.Text = "APOP" }), []string{"^warning: "}},
		{"TLS", login(func(e *track.Event) { e.Text = "password, TLS 1.2" }), []string{"^ok: "}},
		{"this machine", login(func(e *track.Event) { e.Remote = ip("127.0.0.1") }), []string{"^ok: "}},
		{"SMTP", login(func(e *track.Event) { e.Service = "smtp" }), []string{"^ok: "}},
	})
	many := make(plainLogins)
	for i := range 2 * maxPlainLogins {
		many.add(&track.Event{Service: "pop3", User: fmt.Sprint(i), Time: noon, Remote: ip("192.168.1.7")})
	}
	if len(many) != maxPlainLogins {
		t.Errorf("%d clients are remembered", len(many))
	}
}

func TestPlaintext(t *testing.T) {
	record := func(edit func(*decisionlog.Record)) []decisionlog.Record {
		r := decisionlog.Record{Time: noon.Add(-time.Hour)}
		r.Facts.Remote = ip("192.168.1.7")
		r.Facts.User = policy.User{Address: addr.Address{Local: "anna", Domain: "office.example"}}
		edit(&r)
		return []decisionlog.Record{r, r}
	}
	judge(t, []judged{
		{"plain", judgePlaintext(record(func(*decisionlog.Record) {}), noon), []string{"^warning: .*192.168.1.7 as anna@office.example"}},
		{"TLS", judgePlaintext(record(func(r *decisionlog.Record) { r.Facts.TLSVersion = 0x304 }), noon), []string{"^ok: "}},
		{"no login", judgePlaintext(record(func(r *decisionlog.Record) { r.Facts.User = policy.User{} }), noon), []string{"^ok: "}},
		{"this machine", judgePlaintext(record(func(r *decisionlog.Record) { r.Facts.Remote = ip("127.0.0.1") }), noon), []string{"^ok: "}},
		{"long ago", judgePlaintext(record(func(r *decisionlog.Record) { r.Time = noon.Add(-300 * time.Hour) }), noon), []string{"^ok: "}},
	})
}

func TestQuotas(t *testing.T) {
	box := func(state admin.QuotaState, percent int) []admin.QuotaStatus {
		return []admin.QuotaStatus{{Target: "anna@office.example", State: state, Percent: percent}}
	}
	judge(t, []judged{
		{"room", judgeQuotas(box(admin.QuotaOK, 50)), []string{"^ok: "}},
		{"near", judgeQuotas(box(admin.QuotaWarning, 93)), []string{"^warning: anna@office.example has used 93 %"}},
		{"full", judgeQuotas(box(admin.QuotaFull, 101)), []string{"^error: anna@office.example is full"}},
	})
}

func TestQueue(t *testing.T) {
	unreached := queue.Destination{Key: "x.example", Waiting: 3, Failures: 2}
	judge(t, []judged{
		{"empty", judgeQueue(queueView{}, noon), []string{"^ok: "}},
		{"young", judgeQueue(queueView{count: 1, oldest: noon.Add(-time.Minute)}, noon), []string{"^ok: 1 message waits"}},
		{"old", judgeQueue(queueView{count: 1, oldest: noon.Add(-9 * time.Hour)}, noon), []string{"^warning: .*waited for 9 h"}},
		{"held", judgeQueue(queueView{count: 2, held: 2}, noon), []string{"^warning: 2 messages wait, held"}},
		{"not reached", judgeQueue(queueView{count: 3, destinations: []queue.Destination{unreached}}, noon), []string{`^warning: 3 messages wait for "x.example".* 2 times`}},
		{"newer", judgeQueue(queueView{count: 1, newer: 1}, noon), []string{"^warning: 1 message waits that only a newer"}},
	})
}

func TestQuarantine(t *testing.T) {
	judge(t, []judged{
		{"empty", judgeQuarantine(nil), []string{"^ok: "}},
		{"one", judgeQuarantine([]admin.Spooled{{ID: "P3_1", Problem: "its state cannot be parsed"}}), []string{"^error: P3_1 was moved.*cannot be parsed"}},
	})
}
