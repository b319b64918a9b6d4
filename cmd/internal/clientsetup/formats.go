package clientsetup

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

const typePassword = "The program asks for the password."

// autoconfig is Thunderbird's file, which Evolution and KMail read too. It has no IMAP, so that no
// program is led there.
func (f *Facts) autoconfig() (File, error) {
	pop3, smtp, err := f.pair(anyService, anyService)
	if err != nil {
		return File{}, err
	}
	server := func(s Service) string {
		kind := map[string]string{"SSL/TLS": "SSL", "STARTTLS": "STARTTLS", "none": "plain"}[s.Encryption]
		return fmt.Sprintf(`      <hostname>%s</hostname>
      <port>%d</port>
      <socketType>%s</socketType>
      <username>%%EMAILADDRESS%%</username>
      <authentication>password-cleartext</authentication>
`, escaped(f.Server), s.Port, kind)
	}
	domain := escaped(f.domain())
	body := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="%[1]s">
    <domain>%[1]s</domain>
    <displayName>%[1]s</displayName>
    <incomingServer type="pop3">
%[2]s      <pop3><leaveMessagesOnServer>true</leaveMessagesOnServer></pop3>
    </incomingServer>
    <outgoingServer type="smtp">
%[3]s    </outgoingServer>
  </emailProvider>
</clientConfig>
`, domain, server(pop3), server(smtp))
	return File{"config-v1.1.xml", "application/xml", []byte(body),
		"Thunderbird reads it from https://autoconfig." + f.domain() + "/mail/config-v1.1.xml, or as " +
			f.domain() + ".xml in the folder isp of its program folder."}, nil
}

// Autodiscover returns Outlook's answer in XML.
func (f Facts) Autodiscover() (File, error) {
	if err := f.check(); err != nil {
		return File{}, err
	}
	pop3, smtp, err := f.pair(anyService, anyService)
	if err != nil {
		return File{}, err
	}
	const schema = "http://schemas.microsoft.com/exchange/autodiscover/"
	protocol := func(s Service, more string) string {
		encryption := map[string]string{"SSL/TLS": "SSL", "STARTTLS": "TLS", "none": "None"}[s.Encryption]
		ssl := map[bool]string{true: "on", false: "off"}[s.encrypted()]
		return fmt.Sprintf(`      <Protocol>
        <Type>%s</Type>
        <Server>%s</Server>
        <Port>%d</Port>
        <LoginName>%s</LoginName>
        <DomainRequired>off</DomainRequired>
        <SPA>off</SPA>
        <SSL>%s</SSL>
        <Encryption>%s</Encryption>
        <AuthRequired>on</AuthRequired>
%s      </Protocol>
`, s.Protocol, escaped(f.Server), s.Port, escaped(f.User), ssl, encryption, more)
	}
	body := `<?xml version="1.0" encoding="UTF-8"?>
<Autodiscover xmlns="` + schema + `responseschema/2006">
  <Response xmlns="` + schema + `outlook/responseschema/2006a">
    <Account>
      <AccountType>email</AccountType>
      <Action>settings</Action>
` + protocol(pop3, "") + protocol(smtp, "        <UsePOPAuth>on</UsePOPAuth>\n") + `    </Account>
  </Response>
</Autodiscover>
`
	return File{Name: "autodiscover.xml", Type: "text/xml", Body: []byte(body)}, nil
}

// AutodiscoverJSON returns the answer to a JSON question (version 2) for a protocol, and whether it
// is the one that is served. The answer cannot have the settings of POP3; it leads to the XML.
func AutodiscoverJSON(host, protocol string) (body []byte, ok bool) {
	if !strings.EqualFold(protocol, "AutodiscoverV1") {
		body, _ = json.Marshal(map[string]string{ // strings always marshal
			"ErrorCode": "InvalidProtocol", "ErrorMessage": "This server has AutodiscoverV1 only."})
		return body, false
	}
	body, _ = json.Marshal(map[string]string{
		"Protocol": "AutodiscoverV1", "Url": "https://" + host + "/autodiscover/autodiscover.xml"})
	return body, true
}

// apple returns a profile for iPhone, iPad and Mac. If it is not signed, the device says so.
func (f *Facts) apple() (File, error) {
	pop3, smtp, err := f.pair(anyService, anyService)
	if err != nil {
		return File{}, err
	}
	var b strings.Builder
	text := func(key, value string) {
		fmt.Fprintf(&b, "<key>%s</key><string>%s</string>\n", key, escaped(value))
	}
	server := func(side string, s Service) {
		text(side+"MailServerHostName", f.Server)
		fmt.Fprintf(&b, "<key>%sMailServerPortNumber</key><integer>%d</integer>\n", side, s.Port)
		fmt.Fprintf(&b, "<key>%sMailServerUseSSL</key><%t/>\n", side, s.encrypted())
		text(side+"MailServerUsername", f.User)
		text(side+"MailServerAuthentication", "EmailAuthPassword")
	}
	head := func(kind, part string) {
		text("PayloadType", kind)
		b.WriteString("<key>PayloadVersion</key><integer>1</integer>\n")
		id := uuid(part + " " + f.User)
		text("PayloadIdentifier", "mail."+id+"."+part)
		text("PayloadUUID", id)
		text("PayloadDisplayName", f.User)
	}
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
`)
	head("Configuration", "profile")
	b.WriteString("<key>PayloadContent</key><array>\n<dict>\n")
	head("com.apple.mail.managed", "account")
	text("EmailAccountType", "EmailTypePOP")
	text("EmailAccountDescription", f.User)
	text("EmailAccountName", f.Name)
	text("EmailAddress", f.User)
	server("Incoming", pop3)
	server("Outgoing", smtp)
	if f.Password != "" {
		text("IncomingPassword", f.Password)
	}
	b.WriteString("<key>OutgoingPasswordSameAsIncomingPassword</key><true/>\n</dict>\n")
	if f.Root != nil {
		b.WriteString("<dict>\n")
		head("com.apple.security.root", "ca")
		fmt.Fprintf(&b, "<key>PayloadContent</key><data>%s</data>\n</dict>\n",
			base64.StdEncoding.EncodeToString(f.Root))
	}
	b.WriteString("</array>\n</dict></plist>\n")
	note := "The profile is not signed: the device says so and asks whether to install it."
	body := []byte(b.String())
	if f.Sign != nil {
		if body, err = f.Sign(body); err != nil {
			return File{}, err
		}
		note = "The profile has the server's signature."
	}
	if f.Sign != nil && f.Root != nil {
		note += " The device calls it not verified until it trusts the CA that is in it."
	}
	if f.Root != nil {
		note += " Then trust the CA under Settings, General, About, Certificate Trust Settings."
	}
	return File{"mail.mobileconfig", "application/x-apple-aspen-config", body, note}, nil
}

// uuid returns a UUID (version 8, RFC 9562) that depends on the text only: another profile for the
// same address replaces the first, one for another address does not.
func uuid(text string) string {
	u := sha256.Sum256([]byte(text))
	u[6], u[8] = u[6]&0x0F|0x80, u[8]&0x3F|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// iaf is the file that Outlook Express imports.
func (f *Facts) iaf() (File, error) {
	pop3, smtp, err := f.pair(withoutSTLS, ofOutlookExpress)
	if err != nil {
		return File{}, err
	}
	b := []byte{0x66, 0x4D, 0x41, 0x49, 0, 0, 5, 0, 1, 0, 0, 0}
	record := func(property, kind uint32, value []byte) {
		b = binary.LittleEndian.AppendUint32(b, property<<16|kind)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
		b = append(b, value...)
	}
	text := func(property uint32, value string) { record(property, 0x3F0, append(ansi(value), 0)) }
	number := func(property, kind uint32, n int) {
		record(property, kind, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
	const long, boolean = 0x3E9, 0x3F5
	text(0x1235, f.User)
	number(0x1239, long, 3) // connection type: any
	text(0x13C4, f.Server)
	text(0x13C5, f.User)
	number(0x13C8, boolean, 0) // SPA
	number(0x13C9, long, pop3.Port)
	number(0x13CA, boolean, yes(pop3.encrypted()))
	text(0x1428, f.Server)
	number(0x142C, long, 2) // log in as for POP3
	number(0x142D, long, smtp.Port)
	number(0x142E, boolean, yes(smtp.encrypted()))
	text(0x1430, f.Name)
	text(0x1432, f.User)
	return File{"mail.iaf", "application/octet-stream", b,
		"Open it in Outlook Express: Tools, Accounts, Import, Mail. " + typePassword}, nil
}

// registry is the same account for the registry. An account 00000001 that exists is overwritten.
func (f *Facts) registry() (File, error) {
	pop3, smtp, err := f.pair(withoutSTLS, ofOutlookExpress)
	if err != nil {
		return File{}, err
	}
	var b strings.Builder
	text := func(name, value string) {
		fmt.Fprintf(&b, "\"%s\"=\"%s\"\r\n", name,
			strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value))
	}
	number := func(name string, n int) { fmt.Fprintf(&b, "\"%s\"=dword:%08x\r\n", name, n) }
	b.WriteString("\r\n[HKEY_CURRENT_USER\\Software\\Microsoft\\Internet Account Manager\\Accounts\\00000001]\r\n")
	text("Account Name", f.User)
	number("Connection Type", 3)
	text("POP3 Server", f.Server)
	text("POP3 User Name", f.User)
	number("POP3 Port", pop3.Port)
	number("POP3 Secure Connection", yes(pop3.encrypted()))
	number("POP3 Use Sicily", 0)
	text("SMTP Server", f.Server)
	text("SMTP Display Name", f.Name)
	text("SMTP Email Address", f.User)
	number("SMTP Port", smtp.Port)
	number("SMTP Secure Connection", yes(smtp.encrypted()))
	number("SMTP Use Sicily", 2)
	note := "Use it only where Outlook Express has no account 00000001: that one is overwritten. " +
		typePassword
	if strings.IndexFunc(b.String(), func(r rune) bool { return r > '~' }) < 0 {
		return File{"mail.reg", "text/plain", []byte("REGEDIT4\r\n" + b.String()), note}, nil
	}
	body := []byte{0xFF, 0xFE} // UTF-16LE, which Windows 98 cannot read
	for _, unit := range utf16.Encode([]rune("Windows Registry Editor Version 5.00\r\n" + b.String())) {
		body = binary.LittleEndian.AppendUint16(body, unit)
	}
	return File{"mail.reg", "text/plain", body, note}, nil
}

// prf is a profile for the Outlook versions that have the option /importprf.
func (f *Facts) prf() (File, error) {
	pop3, smtp, err := f.pair(withoutSTLS, anyService)
	if err != nil {
		return File{}, err
	}
	secure := map[string]int{"none": 0, "SSL/TLS": 1, "STARTTLS": 2}[smtp.Encryption]
	body := fmt.Sprintf(`[General]
Custom=1
ProfileName=%[1]s
DefaultProfile=Yes
OverwriteProfile=Append
ModifyDefaultProfileIfPresent=TRUE

[Internet Account List]
Account1=I_Mail

[Account1]
AccountName=%[1]s
DisplayName=%[2]s
EmailAddress=%[1]s
POP3Server=%[3]s
POP3UserName=%[1]s
POP3UseSPA=0
POP3Port=%[4]d
POP3UseSSL=%[5]d
SMTPServer=%[3]s
SMTPPort=%[6]d
SMTPSecureConnection=%[7]d
SMTPUseAuth=1
SMTPAuthMethod=0

[I_Mail]
AccountType=POP3
AccountName=PT_UNICODE,0x0002
DisplayName=PT_UNICODE,0x000B
EmailAddress=PT_UNICODE,0x000C
POP3Server=PT_UNICODE,0x0100
POP3UserName=PT_UNICODE,0x0101
POP3UseSPA=PT_LONG,0x0108
POP3Port=PT_LONG,0x0104
POP3UseSSL=PT_LONG,0x0105
SMTPServer=PT_UNICODE,0x0200
SMTPPort=PT_LONG,0x0201
SMTPSecureConnection=PT_LONG,0x020A
SMTPUseAuth=PT_LONG,0x0203
SMTPAuthMethod=PT_LONG,0x0208
`, f.User, f.Name, f.Server, pop3.Port, yes(pop3.encrypted()), smtp.Port, secure)
	return File{"mail.prf", "text/plain", ansi(strings.ReplaceAll(body, "\n", "\r\n")),
		"Start Outlook with outlook.exe /importprf mail.prf. " + typePassword}, nil
}

// text lists what a user types.
func (f *Facts) text() (File, error) {
	pop3, smtp, err := f.pair(anyService, anyService)
	if err != nil {
		return File{}, err
	}
	body := fmt.Sprintf("Name:           %s\nE-mail address: %s\nAccount type:   POP3 (not IMAP)\n"+
		"Incoming mail:  %s, port %d, %s\nOutgoing mail:  %s, port %d, %s\n"+
		"User name:      %s\nLogin:          for incoming and outgoing mail, normal password\n",
		f.Name, f.User, f.Server, pop3.Port, pop3.Encryption, f.Server, smtp.Port, smtp.Encryption, f.User)
	return File{Name: "mail.txt", Type: "text/plain; charset=utf-8", Body: []byte(body + f.secrets())}, nil
}

// printer lists what a device that only sends needs.
func (f *Facts) printer() (File, error) {
	smtp, err := choose(f.Outgoing, "outgoing", anyService)
	if err != nil {
		return File{}, err
	}
	body := fmt.Sprintf("SMTP server:    %s\nPort:           %d\nEncryption:     %s\n"+
		"Sender address: %s\nLogin:          yes (SMTP authentication)\nUser name:      %s\n",
		f.Server, smtp.Port, smtp.Encryption, f.User, f.User)
	return File{Name: "printer.txt", Type: "text/plain; charset=utf-8",
		Body: []byte(body + f.secrets())}, nil
}

// secrets are the lines about the password and the CA.
func (f *Facts) secrets() (lines string) {
	if f.Password != "" {
		lines = "Password:       " + f.Password + "\n"
	}
	if f.CA != "" {
		lines += "CA to trust:    SHA-256 " + f.CA + "\n"
	}
	return lines
}
