package setup

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pillarbox/cmd/internal/config"
)

func TestWebAddresses(t *testing.T) {
	for _, test := range []struct {
		web    Web
		offset int
		busy   string
		want   string
		url    string
	}{
		{WebLAN, 0, "", ":443", "https://mail.office.example/"},
		{WebLAN, 0, ":443", ":8443", "https://mail.office.example:8443/"},
		{WebLAN, 10000, "", ":10443", "https://mail.office.example:10443/"},
		{WebLAN, 10000, ":10443", ":18443", "https://mail.office.example:18443/"},
		{WebLocal, 0, "", "127.0.0.1:8443", "https://localhost:8443/"},
		{WebLocal, 1, "", "127.0.0.1:8444", "https://localhost:8444/"},
		{WebOff, 0, "", "", ""},
		{"", 0, "", "", ""},
	} {
		got := webAddresses(test.web, test.offset, func(address string) bool { return address != test.busy })
		if strings.Join(got, " ") != test.want {
			t.Errorf("%+v: %v", test, got)
		}
		cfg := config.Default()
		cfg.Hostname, cfg.Listen.Web = "mail.office.example", got
		if url := PageURL(&cfg); url != test.url {
			t.Errorf("%+v: %s", test, url)
		}
		if want := test.web; webOf(got) != want && want != "" {
			t.Errorf("%v is %s", got, webOf(got))
		}
	}
	if web := webOf([]string{"127.0.0.1:8443", "192.168.1.10:443"}); web != WebLAN {
		t.Error(web)
	}
}

func TestIsFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if isFree(l.Addr().String()) {
		t.Error("an address in use is free")
	}
	l.Close()
	if !isFree(l.Addr().String()) {
		t.Error("an address that was closed is in use")
	}
}

// The page is in a new configuration as requested; a kept one is told.
func TestWeb(t *testing.T) {
	req := Request{ConfigFile: filepath.Join(t.TempDir(), "p.toml"), PortOffset: 20000, Web: WebLocal}
	if notes := office(t, req); noted(notes, "page") {
		t.Errorf("%q", notes)
	}
	cfg, err := config.Load(req.ConfigFile, nil)
	if err != nil || !slices.Equal(cfg.Listen.Web, []string{"127.0.0.1:28443"}) {
		t.Errorf("%v %v", err, cfg.Listen.Web)
	}
	if notes := office(t, req); noted(notes, "--web") {
		t.Errorf("%q", notes)
	}
	req.Web = WebLAN
	if notes := office(t, req); !noted(notes, "--web lan was not used", "127.0.0.1:28443") {
		t.Errorf("%q", notes)
	}
	req.ConfigFile = filepath.Join(t.TempDir(), "p.toml")
	if notes := office(t, req); !noted(notes, "firewall") {
		t.Errorf("%q", notes)
	}
	req.PortOffset = 60000
	if _, err := Run(req, nil, true); err == nil {
		t.Error("the page has a port beyond the last")
	}
}
