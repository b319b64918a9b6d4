package clientsetup

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Facts are what the files for mail programs are made of.
type Facts struct {
	Settings        // User is the full address
	Name     string // of the person; "": the address
	Root     []byte // the CA's certificate, DER; nil if mail programs trust the server's CA already
	Password string // "": the program asks for it
	// Sign puts a profile of Apple into a signature of the server; nil: it is not signed.
	Sign func([]byte) ([]byte, error)
}

// File is a file for a mail program.
type File struct {
	Name string `json:"name"`           // proposed
	Type string `json:"type"`           // media type
	Body []byte `json:"body,omitempty"` // never empty; in base64 in JSON
	// Note tells what the user must do beside opening the file; "" if that is all.
	Note string `json:"note,omitempty"`
}

// Programs are the values of For of Render.
func Programs() []string {
	return []string{"outlook-express", "outlook", "thunderbird", "apple", "windows-mail", "printer",
		"text"}
}

// Render returns the file for a program. reg asks for a registry file instead of an .iaf file for
// Outlook Express. Only the formats of Apple, of a printer and of text have the password.
func Render(program string, reg bool, f Facts) (File, error) {
	if f.Name == "" {
		f.Name = f.User
	}
	if err := f.check(); err != nil {
		return File{}, err
	}
	switch {
	case program == "outlook-express" && reg:
		return f.registry()
	case program == "outlook-express":
		return f.iaf()
	case program == "outlook":
		return f.prf()
	case program == "thunderbird":
		return f.autoconfig()
	case program == "apple":
		return f.apple()
	case program == "windows-mail", program == "text":
		return f.text()
	case program == "printer":
		return f.printer()
	}
	return File{}, fmt.Errorf("there is no file for %q; the programs are %s", program,
		strings.Join(Programs(), ", "))
}

// check refuses what would end a line or a value in some format.
func (f *Facts) check() error {
	for what, text := range map[string]string{
		"the address": f.User, "the server's name": f.Server, "the full name": f.Name,
		"the password": f.Password,
	} {
		if strings.ContainsFunc(text, unicode.IsControl) || len(text) > 300 ||
			strings.ContainsRune(text, unicode.ReplacementChar) {
			return errors.New(what + " is too long or has a control character")
		}
	}
	if _, domain, ok := strings.Cut(f.User, "@"); !ok || domain == "" {
		return errors.New("the user name is not a full address")
	}
	return nil
}

func (f *Facts) domain() string { return f.User[strings.LastIndexByte(f.User, '@')+1:] }

// choose returns the first service that a program can use.
func choose(services []Service, what string, usable func(Service) bool) (Service, error) {
	if i := slices.IndexFunc(services, usable); i >= 0 {
		return services[i], nil
	}
	return Service{}, fmt.Errorf("the program can use no service of this server for %s mail; "+
		"listen.pop3s and listen.smtps help most programs", what)
}

// pair returns the services for incoming and outgoing mail.
func (f *Facts) pair(in, out func(Service) bool) (pop3, smtp Service, err error) {
	pop3, err = choose(f.Incoming, "incoming", in)
	if err == nil {
		smtp, err = choose(f.Outgoing, "outgoing", out)
	}
	return pop3, smtp, err
}

func anyService(Service) bool { return true }

// withoutSTLS is for programs whose POP3 knows TLS from the first octet only.
func withoutSTLS(s Service) bool { return s.Encryption != "STARTTLS" }

// ofOutlookExpress: it begins TLS at once at every port but 25.
func ofOutlookExpress(s Service) bool {
	return s.Encryption == "none" || (s.Encryption == "STARTTLS") == (s.Port == 25)
}

func yes(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s Service) encrypted() bool { return s.Encryption != "none" }

// escaped returns text for an XML document.
func escaped(text string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(text)) // a Buffer has no errors
	return b.String()
}

// ansi returns text in the octets of ISO 8859-1. What that has not becomes '?'.
func ansi(text string) []byte {
	var b []byte
	for _, r := range text {
		if r > 0xFF {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return b
}
