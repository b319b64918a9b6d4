package web

import (
	"bytes"
	"html/template"
	"image"
	"image/color"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/boombuler/barcode/qr"

	"pillarbox/cmd/internal/admin"
	"pillarbox/tls/certs"
)

// The page and the code lead another device to the server, and the page has no password.
func TestSetup(t *testing.T) {
	o := newOffice(t)
	if _, err := certs.Ensure(o.service.Config().Certs().Dir, []string{"mail.office.example"}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	b := o.logIn(t, anna)
	for _, path := range []string{"/me/setup", "/me/setup/print"} {
		_, text := b.get(path)
		for _, want := range []string{
			"https://mail.office.example/me/setup", "https://mail.office.example/ca.crt", anna, "POP3", "995", "Certificate Trust Settings",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in %s", path, want, text)
			}
		}
		if n := strings.Count(text, "<svg "); n != 2 || strings.Contains(strings.Replace(text, ownScript, "", 1), "<script") || strings.Contains(text, " style=") {
			t.Errorf("%s has %d drawings: %s", path, n, text)
		}
		if strings.Contains(text, password) {
			t.Errorf("%s has the password", path)
		}
	}
	// The profile is signed by the server.
	res, profile := b.get("/me/setup/apple")
	m, err := admin.OpenCertificate(o.service.Config())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := m.ExportCA("der")
	if err != nil || res.StatusCode != http.StatusOK || !strings.HasPrefix(profile, "\x30") || !bytes.Contains([]byte(profile), ca) {
		t.Errorf("%v %s: the profile is not signed", err, res.Status)
	}
}

// A device elsewhere reaches the page by the name that the browser has used, or by the server's.
func TestReachable(t *testing.T) {
	o := newOffice(t)
	cfg := o.service.Config()
	for _, test := range []struct {
		host string
		web  []string
		want string
	}{
		{"mail.office.example", []string{":443"}, "mail.office.example"},
		{"192.168.1.10:8443", []string{":8443"}, "192.168.1.10:8443"},
		{"[fd00::2]:8443", nil, "[fd00::2]:8443"},
		{"localhost:8443", []string{"127.0.0.1:8443"}, "mail.office.example"},
		{"127.0.0.1", []string{"127.0.0.1:443", "192.168.1.10:8443"}, "mail.office.example:8443"},
		{"[::1]:443", []string{":443"}, "mail.office.example"},
	} {
		cfg.Listen.Web = test.web
		hr := httptest.NewRequest("GET", "/me/setup", nil)
		hr.Host = test.host
		if got := (&request{Request: hr, site: o.site}).reachable(); got != test.want {
			t.Errorf("%s, %v: %s, want %s", test.host, test.web, got, test.want)
		}
	}
}

var qrRun = regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`)

// drawn returns the dark modules of a drawing.
func drawn(t *testing.T, svg template.HTML) map[image.Point]bool {
	dark := map[image.Point]bool{}
	for _, m := range qrRun.FindAllStringSubmatch(string(svg), -1) {
		var n [4]int
		for i := range n {
			n[i], _ = strconv.Atoi(m[i+1])
		}
		if n[2] != n[3] {
			t.Errorf("open run %s", m[0])
		}
		for x := range n[2] {
			dark[image.Pt(n[0]+x, n[1])] = true
		}
	}
	return dark
}

// A drawing has the modules of the code, within four light ones (ISO/IEC 18004).
func TestQRCode(t *testing.T) {
	for _, text := range []string{"https://mail.office.example/me/setup", "a", strings.Repeat("Ab1-", 100)} {
		svg, err := qrCode(text)
		if err != nil {
			t.Fatal(err)
		}
		code, err := qr.Encode(text, qr.M, qr.Auto)
		if err != nil {
			t.Fatal(err)
		}
		dark, size := drawn(t, svg), code.Bounds().Dx()
		for y := -4; y < size+4; y++ {
			for x := -4; x < size+4; x++ {
				want := image.Pt(x, y).In(code.Bounds()) && code.At(x, y) == color.Black
				if dark[image.Pt(x+4, y+4)] != want {
					t.Fatalf("%.20q: module %d,%d", text, x, y)
				}
			}
		}
		if !strings.Contains(string(svg), `viewBox="0 0 `+strconv.Itoa(size+8)+" ") {
			t.Errorf("%.60s", svg)
		}
	}
	if _, err := qrCode(strings.Repeat("x", 5000)); err == nil {
		t.Error("a text that no code can hold")
	}
}
