//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rank is what a user may see: the own mailbox, one domain, or all.
type rank int

const (
	visitor rank = iota // before the login
	mailUser
	manager // an operator of one domain
	chief   // an operator of all domains
)

func (r rank) String() string { return [...]string{"visitor", "user", "manager", "chief"}[r] }

// webPage is a page of the site.
type webPage struct {
	route   string // as Go source, where cmd/internal/web registers the page
	address string // {reset} and {code} are filled in
	from    rank   // that may see it; a lower one is refused, with 403
}

const annaPage = "/mailbox/" + anna

// webPages has every page. TestEveryWebPage compares it with the source.
var webPages = []webPage{
	{`"GET /login"`, "/login", visitor},
	{`"GET /reset/{name}/{key}"`, "{reset}", visitor},

	{`"/me"`, "/me", mailUser},
	{`"/me/setup"`, "/me/setup", mailUser},
	{`"/me/setup/print"`, "/me/setup/print", mailUser},
	{`path+"/rules"`, "/me/rules", mailUser},
	{`path+"/absence"`, "/me/absence", mailUser},
	{`path+"/deleted"`, "/me/deleted", mailUser},
	{`factorPath`, "/me/second-factor", mailUser},

	{`"/mailboxes"`, "/mailboxes", manager},
	{`"/mailboxes/add"`, "/mailboxes/add", manager},
	{`"/mailboxes/import"`, "/mailboxes/import", manager},
	{`"/mailbox/{name}"`, annaPage, manager},
	{`path+"/rules"`, annaPage + "/rules", manager},
	{`path+"/absence"`, annaPage + "/absence", manager},
	{`path+"/deleted"`, annaPage + "/deleted", manager},
	{`"/domains"`, "/domains", manager},
	{`"/dns"`, "/dns", manager},
	{`"/groups"`, "/groups", manager},
	{`"/audit"`, "/audit", manager},

	{`"/devices"`, "/devices", chief},
	{`"/overview"`, "/overview", chief},
	{`"/queue"`, "/queue", chief},
	{`"/trace"`, "/trace?name=" + anna, chief},
	{`"/explain"`, "/explain?ip=192.168.1.20&service=smtp&to=someone@elsewhere.example", chief},
	{`"/sessions"`, "/sessions", chief},
	{`"/policy"`, "/policy", chief},
	{`"/policy/rule"`, "/policy/rule?key=senders.deny&value=spam.example", chief},
	{`"/settings"`, "/settings", chief},
	{`"/refusals"`, "/refusals", chief},
	{`"/bans"`, "/bans", chief},
	{`"/routes"`, "/routes", chief},
	{`"/certificates"`, "/certificates", chief},
	{`"/operators"`, "/operators", chief},
	{`"/stray"`, "/stray", chief},
	{`"/backups"`, "/backups", chief},
	{`"/log"`, "/log", chief},
}

// noPages are addresses whose answer is no page to look at, or is seen elsewhere.
var noPages = []string{
	`"GET /style.css"`, `"GET /icon.svg"`, `"GET /copy.js"`, `"GET /{$}"`,
	`"GET /me/setup/{program}"`, `"GET /ca.crt"`, // files to save
	`"GET /mail/config-v1.1.xml"`, `"GET /.well-known/autoconfig/mail/config-v1.1.xml"`,
	`"GET /login/code"`, // TestNewColleague
	`"GET "+path`,       // the function that registers pages
}

var webRoute = regexp.MustCompile(`(?:\.page\(mux, |HandleFunc\()([^,]+),`)

// TestEveryWebPage finds a page that webPages lacks.
func TestEveryWebPage(t *testing.T) {
	files, err := filepath.Glob("../web/*.go")
	noError(t, err)
	var listed []string
	for _, p := range webPages {
		listed = append(listed, p.route)
	}
	listed = append(listed, noPages...)
	found := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range webRoute.FindAllStringSubmatch(read(t, file), -1) {
			route := m[1]
			if strings.HasPrefix(route, `"POST `) || route == `"POST "+path` || route == `"/"` {
				continue
			}
			found[route] = true
			if !slices.Contains(listed, route) {
				t.Errorf("%s registers %s, which this test does not visit; add it to webPages", file, route)
			}
		}
	}
	for _, route := range listed {
		if !found[route] {
			t.Errorf("%s is no longer registered; remove it here", route)
		}
	}
}

// newWebOffice returns an office with the page at base, whose users are of each rank: boss is the
// chief, anna a manager, and clara a user. There is something to see on every page.
func newWebOffice(t *testing.T) (o *office, base string) {
	t.Helper()
	o = newOffice(t)
	address := "127.0.0.1:" + freePort(t)
	o.set(t, "listen", "web", `["`+address+`"]`)
	o.set(t, "outbound", "retries", `["1h"]`)
	o.route(t, `domains = ["partner.example"]`, `smart_host = ["127.0.0.1:1"]`, `tls = "off"`)
	for _, args := range [][]string{
		{"domain", "add", "a-rather-long-name-of-a-branch.office.example"},
		{"alias", "add", "a.very.long.alias.for.the.reception", anna},
		{"group", "add", "team@" + domain}, {"group", "member", "add", "team@" + domain, anna, boss},
		{"device", "add", "scanner", "--ip", "192.168.1.20", "--may-send-to", "local"},
		{"operator", "add", boss}, {"operator", "add", anna, "--domain", domain},
		{"mailbox", "app-password", "add", anna, "telephone"},
		{"sendas", "grant", anna, "team@" + domain},
	} {
		o.pillarbox(t, "", append([]string{"admin"}, args...)...)
	}
	o.pillarbox(t, claraPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")
	o.serve(t)
	o.deliver(t, letter("for all"), anna, boss, clara)
	o.submit(t, letter("to a partner"), "someone.with.a.long.name@partner.example")
	if s, err := o.logIn(anna, wrongPassword); err == nil {
		s.Close()
	}
	o.refused(t)
	_, port, _ := strings.Cut(address, ":")
	return o, "https://" + hostname + ":" + port
}

// refused sends like a machine that is no device, and is refused.
func (o *office) refused(t *testing.T) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(stranger)}}
	conn, err := d.Dial("tcp", o.listen["smtp"])
	noError(t, err)
	defer conn.Close()
	s := &session{conn, bufio.NewReader(conn)}
	_, err = s.reply()
	noError(t, err)
	s.ask(t, "250", "EHLO scanner")
	s.ask(t, "550", "MAIL FROM:<scanner@%s>", domain)
	s.ask(t, "221", "QUIT")
}

// logInTo logs a user in.
func (b *tab) logInTo(t *testing.T, name, password string) {
	t.Helper()
	b.open(t, "/login")
	b.fill(t, "Mail address", name)
	b.fill(t, "Password", password)
	b.click(t, "button", "Log in")
}

// TestWebPages looks at every page as a user of each rank, in both languages, on a narrow and a wide
// window, in light and dark colours, and with and without scripts.
func TestWebPages(t *testing.T) {
	o, base := newWebOffice(t)
	c := newChromium(t, webCertificate(t, base))
	reset := regexp.MustCompile(`/reset/\S+`).FindString(o.pillarbox(t, "", "admin", "mailbox", "reset-link", clara))
	axe := read(t, "testdata/axe/axe.min.js")
	for _, who := range []struct {
		rank
		name, password string
	}{{visitor, "", ""}, {mailUser, clara, claraPassword}, {manager, anna, annaPassword}, {chief, boss, bossPassword}} {
		t.Run(who.String(), func(t *testing.T) {
			t.Parallel()
			v := &viewer{tab: c.newTab(t, base), rank: who.rank, axe: axe}
			if who.name != "" {
				v.scripts(t, false)
				v.logInTo(t, who.name, who.password)
			}
			for _, p := range webPages {
				if (who.rank == visitor) != (p.from == visitor) {
					continue
				}
				p.address = strings.Replace(p.address, "{reset}", reset, 1)
				v.visit(t, p)
			}
		})
	}
}

// viewer looks at pages.
type viewer struct {
	*tab
	rank
	axe string
}

// visit looks at a page. What the user may not see is one and the same page, which says so.
func (v *viewer) visit(t *testing.T, p webPage) {
	t.Run(strings.Trim(p.route, `"`)+" "+p.address, func(t *testing.T) {
		if v.rank < p.from {
			v.look(t, p, "en", false)
			return
		}
		for _, language := range []string{"en", "de"} {
			for _, scripts := range []bool{false, true} {
				v.look(t, p, language, scripts)
			}
		}
		// axe takes the most time. The chief's pages have all that the others' have.
		if v.rank == visitor || v.rank == chief {
			v.wantAccessible(t)
		}
	})
}

// look loads a page and looks at it in a narrow and a wide window.
func (v *viewer) look(t *testing.T, p webPage, language string, scripts bool) {
	t.Helper()
	v.do(t, "Network.setExtraHTTPHeaders", is{"headers": is{"Accept-Language": language}}, nil)
	v.scripts(t, scripts)
	v.open(t, p.address)
	v.wantLoaded(t, p, language)
	v.wantCopiers(t, scripts)
	for _, width := range []int{narrow, wide} {
		v.resize(t, width)
		v.wantFits(t, width)
		if dir := os.Getenv("PILLARBOX_E2E_PICTURES"); dir != "" && !scripts {
			v.picture(t, filepath.Join(dir, fmt.Sprintf("%s-%s-%d-%s.png",
				v.rank, fileName(p.address), width, language)))
		}
	}
}

// The widths of a telephone and of a computer, in pixels.
const (
	narrow = 390
	wide   = 1280
)

// fileName makes a name of an address.
func fileName(address string) string {
	name := regexp.MustCompile(`[^a-z]+`).ReplaceAllString(address, "-")
	return strings.Trim(name[:min(len(name), 40)], "-")
}

// firstPage is what the first page may weigh, with its files and headers, in octets.
const firstPage = 50_000

// wantLoaded checks what the browser told about a page.
func (v *viewer) wantLoaded(t *testing.T, p webPage, language string) {
	t.Helper()
	var page struct {
		Language, Title, Path string
		Scripts               int
	}
	v.eval(t, `({Language: document.documentElement.lang, Title: document.title, Path: location.pathname,
		Scripts: document.querySelectorAll("script").length})`, &page)
	seen, want := v.take(), 200
	if v.rank < p.from {
		want = 403
	}
	if seen.status != want {
		t.Errorf("status %d, want %d", seen.status, want)
	}
	for _, fault := range seen.faults {
		t.Error(fault)
	}
	if seen.octets > firstPage && slices.Contains([]string{"/login", "/overview", "/mailboxes", "/me"}, p.address) {
		t.Errorf("%d octets, more than %d", seen.octets, firstPage)
	}
	if path, _, _ := strings.Cut(p.address, "?"); page.Language != language || page.Title == "" || page.Path != path || page.Scripts != 1 {
		t.Errorf("loaded %+v, want %s in %s with one script", page, p.address, language)
	}
}

// wantCopiers checks that each text to copy has its button, if there are scripts.
func (b *tab) wantCopiers(t *testing.T, scripts bool) {
	t.Helper()
	var page struct{ Texts, Buttons int }
	b.eval(t, `({Texts: document.querySelectorAll(".copy, .secret").length,
		Buttons: document.querySelectorAll(".copier").length})`, &page)
	if want := page.Texts; scripts && page.Buttons != want || !scripts && page.Buttons != 0 {
		t.Errorf("scripts %v: %d texts to copy have %d buttons", scripts, want, page.Buttons)
	}
}

// TestCopy copies a record of DNS with its button.
func TestCopy(t *testing.T) {
	_, base := newWebOffice(t)
	b := newChromium(t, webCertificate(t, base)).newTab(t, base)
	b.resize(t, wide)
	b.logInTo(t, boss, bossPassword)
	b.open(t, "/dns?domain="+domain)
	b.eval(t, `Object.defineProperty(navigator, "clipboard", {value: {writeText: async text => { window.copied = text }}})`, nil)
	b.press(t, `document.querySelector(".copier")`)
	var copied, text string
	b.eval(t, `new Promise(done => setTimeout(() => done(window.copied), 0))`, &copied)
	b.eval(t, `document.querySelector(".copy").textContent`, &text)
	if copied != text || text == "" {
		t.Errorf("%q was copied, want %q", copied, text)
	}
	b.wantText(t, "Copied")
	b.eval(t, `navigator.clipboard.writeText = async () => { throw new Error("forbidden") }`, nil)
	b.press(t, `document.querySelectorAll(".copier")[1]`)
	b.eval(t, `new Promise(done => setTimeout(() => done(getSelection().toString()), 0))`, &copied)
	b.eval(t, `document.querySelectorAll(".copy")[1].textContent`, &text)
	if copied != text {
		t.Errorf("%q is selected, want %q", copied, text)
	}
}

// wantFits finds a page that is wider than its window.
func (b *tab) wantFits(t *testing.T, width int) {
	t.Helper()
	var page struct {
		Width, Window int
		Wide          []string
	}
	b.eval(t, `({Width: document.documentElement.scrollWidth, Window: innerWidth,
		Wide: document.documentElement.scrollWidth <= innerWidth ? [] : [...document.body.querySelectorAll("*")].
			filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 100)).slice(0, 5)})`, &page)
	if page.Width > page.Window || page.Window != width {
		t.Errorf("the page is %d pixels wide in a window of %d, want at most %d; too wide are\n%s", page.Width, page.Window, width, strings.Join(page.Wide, "\n"))
	}
}

// wantAccessible runs axe on the page that is loaded: wide and light, then narrow and dark. It wants
// no fault that is serious or critical.
func (v *viewer) wantAccessible(t *testing.T) {
	t.Helper()
	v.eval(t, v.axe+";0", nil)
	for _, look := range []struct {
		width   int
		colours string
	}{{wide, "light"}, {narrow, "dark"}} {
		v.resize(t, look.width)
		v.colours(t, look.colours)
		var faults []string
		v.eval(t, `axe.run({preload: false, resultTypes: ["violations"]}).then(r => r.violations.
			filter(f => f.impact == "serious" || f.impact == "critical").
			map(f => f.impact + " " + f.id + ": " + f.help + "\n" + f.nodes.slice(0, 3).map(
				n => n.html.slice(0, 200) + " " + n.any.map(a => a.message).join("; ")).join("\n")))`, &faults)
		for _, fault := range faults {
			t.Errorf("%d, %s: %s", look.width, look.colours, fault)
		}
	}
	v.colours(t, "light")
}

// webCertificate returns the certificate that the page shows.
func webCertificate(t *testing.T, base string) *x509.Certificate {
	t.Helper()
	address := strings.Replace(strings.TrimPrefix(base, "https://"), hostname, "127.0.0.1", 1)
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	noError(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}
