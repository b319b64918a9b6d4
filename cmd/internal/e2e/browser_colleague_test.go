//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// TestNewColleague gives a new colleague mail, with the mouse and the keyboard at the page, without a
// terminal and without scripts.
func TestNewColleague(t *testing.T) {
	o, base := newWebOffice(t)
	c := newChromium(t, webCertificate(t, base))
	const dora = "dora@" + domain

	begun := time.Now()
	b := c.newTab(t, base)
	b.scripts(t, false)
	b.resize(t, wide)
	b.logInTo(t, boss, bossPassword)
	b.click(t, "a", "Mailboxes")
	b.click(t, "a", "Add a mailbox")
	b.fill(t, "Name", "dora")
	b.choose(t, "Domain", domain)
	b.click(t, "main button", "Add")
	b.wantText(t, "The new password, shown only now:")
	b.wantFits(t, wide)
	var password string
	b.eval(t, `document.querySelector(".secret").textContent`, &password)

	b.click(t, "a", "Groups and aliases")
	b.press(t, element("summary", "team@"+domain))
	b.fill(t, "New members", dora)
	b.click(t, "main button", "Add")
	if members := o.pillarbox(t, "", "admin", "group", "show", "team@"+domain); !strings.Contains(members, dora) {
		t.Errorf("the group has the members\n%s", members)
	}
	b.click(t, "a", "Devices")
	b.click(t, "main button", "Admit for local mail")
	office := b.work
	if devices := o.pillarbox(t, "", "admin", "device", "list"); !strings.Contains(devices, stranger) {
		t.Errorf("the devices are\n%s", devices)
	}
	o.deliver(t, letter("welcome"), "team@"+domain)

	b = c.newTab(t, base)
	b.scripts(t, false)
	b.resize(t, narrow)
	b.logInTo(t, dora, password)
	b.wantText(t, "1 message")
	b.click(t, "a", "Step by step")
	b.wantText(t, "mail.mobileconfig")
	t.Logf("the operator: %d clicks, %d fields; the colleague: %d clicks, %d fields; the browser took %s",
		office.clicks, office.fields, b.work.clicks, b.work.fields, time.Since(begun).Round(time.Second))
	if messages, _ := o.fetched(t, dora, password); len(messages) != 1 {
		t.Errorf("the mail program fetches %d messages, want 1", len(messages))
	}

	b.click(t, "a", "My mailbox")
	b.click(t, "a", "Set up or remove")
	b.fill(t, "Telephone or program", "telephone")
	b.fill(t, "My password", password)
	b.click(t, "main button", "Set up")
	var secret, recovery string
	b.eval(t, `document.querySelector(".secret").textContent`, &secret)
	code, err := totp.GenerateCode(strings.ReplaceAll(secret, " ", ""), time.Now())
	noError(t, err)
	b.fill(t, "Code", code)
	b.click(t, "main button", "Finish")
	b.wantText(t, "Recovery codes, shown only now.")
	b.wantFits(t, narrow)
	b.eval(t, `document.querySelector(".codes code").textContent`, &recovery)
	b.click(t, "button", "Log out")
	b.logInTo(t, dora, password)
	b.wantText(t, "The six digits that your telephone shows now.")
	b.wantFits(t, narrow)
	b.press(t, element("summary", "I have no telephone here"))
	b.fill(t, "Recovery code", recovery)
	b.click(t, "main button", "Log in")
	b.wantText(t, "My mailbox")
}

// choose chooses an option of the field that has a label.
func (b *tab) choose(t *testing.T, label, option string) {
	t.Helper()
	b.work.fields++
	field := element("label", label) + "?.querySelector('select')"
	var now string
	b.eval(t, `(() => { const e = `+field+`; e.value = "`+option+`"; return e.value })()`, &now)
	if now != option {
		t.Fatalf("the field %s has no option %s", label, option)
	}
}

// wantText checks that the page shows a text.
func (b *tab) wantText(t *testing.T, want string) {
	t.Helper()
	if text := b.text(t); !strings.Contains(text, want) {
		t.Fatalf("the page lacks %q:\n%s", want, text)
	}
}
