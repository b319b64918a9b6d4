//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

const (
	thunderbirdMain    = "chrome://messenger/content/messenger.xhtml"
	thunderbirdCompose = "chrome://messenger/content/messengercompose/messengercompose.xhtml"
)

// mozillaAccount is what Thunderbird has stored about an account. The numbers are those of
// nsMsgSocketType (2: STARTTLS, 3: TLS) and nsMsgAuthMethod (3: password).
type mozillaAccount struct {
	Type, Host, User, SMTPHost, SMTPUser, Address, Name    string
	Port, Socket, Method, SMTPPort, SMTPSocket, SMTPMethod int
	Leave                                                  bool
}

const thunderbirdAccount = `(() => {
	const {MailServices: {accounts, outgoingServer}} = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
	const a = accounts.defaultAccount, i = a.incomingServer, o = outgoingServer.defaultServer.QueryInterface(Ci.nsISmtpServer);
	return {type: i.type, host: i.hostname ?? i.hostName, user: i.username, port: i.port, socket: i.socketType, method: i.authMethod,
		leave: i.QueryInterface(Ci.nsIPop3IncomingServer).leaveMessagesOnServer,
		smtpHost: o.hostname, smtpUser: o.username, smtpPort: o.port, smtpSocket: o.socketType, smtpMethod: o.authMethod,
		address: a.defaultIdentity.email, name: a.defaultIdentity.fullName};
})()`

const thunderbirdInbox = `(() => {
	const {MailServices: {accounts}} = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
	const inbox = accounts.defaultAccount.incomingServer.rootFolder.getChildNamed("Inbox");
	return [...inbox.messages].map(m => m.mime2DecodedSubject);
})()`

// wizard is JavaScript for an element of the account assistant.
func wizard(css string) string {
	return `document.querySelector("account-hub-container")?.modal.querySelector("account-hub-email ` + css + `")`
}

// setUp types name, address and password into Thunderbird's assistant, which opens at the first start,
// and accepts what the assistant finds.
func (m *marionette) setUp(t *testing.T, name, address, password string) {
	t.Helper()
	m.fill(t, wizard("#realName"), name)
	m.fill(t, wizard("#email"), address)
	m.press(t, wizard("#forward"))
	m.reach(t, wizard("#configFound"))
	m.press(t, wizard("#forward"))
	m.fill(t, wizard("#password"), password)
	m.press(t, wizard("#forward"))
	m.reach(t, wizard("email-added-success"))
	m.picture(t, "set up")
	m.press(t, wizard("#forward"))
	m.wait(t, `!document.querySelector("account-hub-container").modal.open`)
}

// send writes a message in Thunderbird's window for that.
func (m *marionette) send(t *testing.T, to, subject, text string) {
	t.Helper()
	m.eval(t, "MsgNewMessage(null)", nil)
	m.window(t, thunderbirdCompose)
	m.fill(t, `document.getElementById("toAddrInput")`, to)
	m.fill(t, `document.getElementById("msgSubject")`, subject)
	m.eval(t, "GetCurrentEditor().insertText(`"+text+"`)", nil)
	m.press(t, `document.getElementById("button-send")`)
	m.window(t, thunderbirdMain)
}

// TestThunderbird: Thunderbird sets itself up from name, address and password alone, sends a message
// and fetches one.
func TestThunderbird(t *testing.T) {
	needs(t, "thunderbird", "Xvfb")
	if !inOwnNetwork(t, officeAddress, hostname, "autoconfig."+domain) {
		return
	}
	o := newOffice(t)
	o.usualPorts(t, "smtp", "submission", "smtps", "pop3", "pop3s")
	o.worksWithThunderbird(t, mozillaAccount{Address: anna, Port: 995, Socket: 3, SMTPPort: 465, SMTPSocket: 3})
}

// TestThunderbirdSTARTTLS: the same in a domain that was added later, where only the domain's own name
// leads to the server, and the server has no port with TLS from the start.
func TestThunderbirdSTARTTLS(t *testing.T) {
	needs(t, "thunderbird", "Xvfb")
	const branch, carl = "branch.example", "carl@branch.example"
	if !inOwnNetwork(t, officeAddress, hostname, branch) {
		return
	}
	o := newOffice(t)
	o.pillarbox(t, "", "admin", "domain", "add", branch)
	o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "add", carl, "--password-stdin")
	o.usualPorts(t, "smtp", "submission", "pop3")
	o.worksWithThunderbird(t, mozillaAccount{Address: carl, Port: 110, Socket: 2, SMTPPort: 587, SMTPSocket: 2})
}

// worksWithThunderbird checks that Thunderbird finds the account of an address and uses it.
func (o *office) worksWithThunderbird(t *testing.T, want mozillaAccount) {
	t.Helper()
	s := o.serve(t)
	s.wantLog(t, "certificate renewed with new names")
	m := newThunderbird(t, o.ca)
	const name = "Anna Müller"
	m.setUp(t, name, want.Address, annaPassword)

	var got mozillaAccount
	m.eval(t, thunderbirdAccount, &got)
	want.Type, want.Host, want.SMTPHost, want.Method, want.SMTPMethod = "pop3", hostname, hostname, 3, 3
	want.User, want.SMTPUser, want.Name, want.Leave = want.Address, want.Address, name, true
	if got != want {
		t.Errorf("the account is\n%+v, want\n%+v", got, want)
	}

	m.send(t, boss, "Angebot für Öl", "Grüße aus Thunderbird")
	eventually(t, "the message has arrived", func() bool { return len(o.files(t, boss)) == 1 })
	for _, part := range []string{"(authenticated as " + want.Address + ")", "(TLS 1.3 ", "Grüße aus Thunderbird"} {
		if sent := o.stored(t, boss)[0]; !strings.Contains(sent, part) {
			t.Errorf("no %q in the message\n%s", part, sent)
		}
	}

	o.deliver(t, letter("for Thunderbird"), want.Address)
	m.eval(t, `document.getElementById("tabmail").currentAbout3Pane.document.getElementById("folderPaneGetMessages").click()`, nil)
	m.wait(t, thunderbirdInbox+`.join() == "for Thunderbird"`)
	s.wantLog(t, `msg="pop3 session ended" user=`+want.Address+` remote_ip=`+officeAddress+` tls=true reason=quit retrieved=1 deleted=0`)
	if left := o.files(t, want.Address); len(left) != 1 {
		t.Errorf("%d messages are left on the server, want 1", len(left))
	}
}
