//go:build e2e

package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
)

// pebble is the ACME test server of Let's Encrypt.
type pebble struct {
	dir        string
	port       string
	management string
	http, tls  string // its ports for challenges, instead of 80 and 443
	dns        *mailtest.DNS
	stop       func()
}

// pebbleProgram returns the path of the program, which the go command builds once.
var pebbleProgram = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "pebble").Output()
	return strings.TrimSpace(string(out)), err
})

// newPebble prepares an ACME server that finds the office on loopback; start starts it.
func newPebble(t *testing.T) *pebble {
	t.Helper()
	p := &pebble{
		dir: t.TempDir(), port: freePort(t), management: freePort(t), http: freePort(t), tls: freePort(t),
		dns: mailtest.NewDNS(t), stop: func() {},
	}
	certificate(t, p.dir, "localhost")
	p.dns.SetAddrs(hostname, netip.MustParseAddr("127.0.0.1"))
	return p
}

// start starts the server; its certificates are valid for lifetime.
func (p *pebble) start(t *testing.T, lifetime time.Duration) {
	t.Helper()
	program, err := pebbleProgram()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": "127.0.0.1:" + p.port, "managementListenAddress": "127.0.0.1:" + p.management,
		"certificate": filepath.Join(p.dir, "cert.pem"), "privateKey": filepath.Join(p.dir, "key.pem"),
		"httpPort": number(t, p.http), "tlsPort": number(t, p.tls), "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 0, "order": 0},
		"profiles":   map[string]any{"default": map[string]any{"description": "all", "validityPeriod": int(lifetime.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "pebble.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", file, "-dnsserver", p.dns.Addr())
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(p.stop)
	listening(t, p.port)
	listening(t, p.management)
}

func number(t *testing.T, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// root returns a PEM file with the CA of the certificates.
func (p *pebble) root(t *testing.T) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool(t, filepath.Join(p.dir, "ca.pem"))}, DisableKeepAlives: true,
	}}
	resp, err := client.Get("https://localhost:" + p.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "root.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// by makes the office get its certificate from this server, by a challenge.
func (p *pebble) by(t *testing.T, o *office, challenge, port string) {
	t.Helper()
	for _, set := range [][2]string{
		{"enabled", "true"}, {"accept_terms", "true"}, {"challenge", `"` + challenge + `"`}, {"listen", `"127.0.0.1:` + port + `"`},
		{"email", `"` + anna + `"`}, {"directory", `"https://localhost:` + p.port + `/dir"`}, {"ca_file", `"` + filepath.Join(p.dir, "ca.pem") + `"`},
	} {
		o.set(t, "tls.acme", set[0], set[1])
	}
}
