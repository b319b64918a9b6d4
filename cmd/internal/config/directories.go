package config

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"pillarbox/mailstore/ldap"
	"pillarbox/mailstore/system"
)

// Directory is one [[directory]]: an LDAP server that checks passwords and knows
// users without a mailbox here.
type Directory struct {
	ldap.Config

	NetBIOS []string // names of its domain in "DOMAIN\user", in capitals
	Lookup  bool     // mailboxes, aliases, groups and quota may come from it
	Create  Create   // when a mailbox that it knows is created

	RefuseAmbiguous bool // refuse mail to an address of several entries; false: defer it
}

// Create decides when a mailbox that the LDAP server knows is created here.
type Create string

// The values of Create.
const (
	CreateAtDelivery Create = "delivery" // at the first message or login
	CreateAtLogin    Create = "login"    // at the first login
	CreateNever      Create = "never"
)

// MakesAtDelivery reports whether a mailbox is created at its first message.
func (d *Directory) MakesAtDelivery() bool { return d.Create == CreateAtDelivery }

// MakesAtLogin reports whether a mailbox is created at its first login.
func (d *Directory) MakesAtLogin() bool { return d.Create != CreateNever }

// LDAP returns the configuration for package ldap.
func (d *Directory) LDAP(log *slog.Logger) ldap.Config {
	c := d.Config
	c.Log = log
	return c
}

// SystemCheck is a method to check the passwords of this machine's accounts.
type SystemCheck string

// The values of SystemCheck.
const (
	UnixChkpwd    SystemCheck = "unix_chkpwd"   // PAM's helper
	Checkpassword SystemCheck = "checkpassword" // a program with that interface
)

// System holds how the passwords of this machine's accounts are checked.
type System struct {
	Check         SystemCheck
	Checkpassword []string      // absolute path and arguments; empty with UnixChkpwd
	MinUID        int           // lower user ids belong to the system and cannot log in
	Timeout       time.Duration // of one check
}

// Checker returns the configured checker.
func (s *System) Checker() system.Checker {
	if s.Check == Checkpassword {
		return &system.Checkpassword{Program: s.Checkpassword, Timeout: s.Timeout}
	}
	return &system.UnixChkpwd{MinUID: s.MinUID, Timeout: s.Timeout}
}

const filterHint = `write one such as "(&(objectClass=person)(uid=%u))"; %u is the user name, %d the domain, %a the address`

// checkUserFilter refuses a filter that finds the same entries for every user.
func checkUserFilter(filter string) error {
	if err := ldap.CheckFilter(filter); err != nil {
		return err
	}
	if !strings.Contains(filter, "%u") && !strings.Contains(filter, "%a") {
		return fmt.Errorf("%q has neither %%u nor %%a, and finds the same people for every user", filter)
	}
	return nil
}

var attribute = checked(ldap.CheckAttribute, `write one such as "mail"`)

// checked accepts a text for which check returns no error.
func checked(check func(string) error, hint string) codec[string] {
	return plain(func(s string) (string, error) {
		if err := check(s); err != nil {
			return "", wrong(err.Error(), hint)
		}
		return s, nil
	})
}

var ldapServer = checked(func(s string) error {
	_, err := ldap.ParseServer(s)
	return err
}, `write "ldaps://dc1.office.example", or "ldap://…" for StartTLS`)

// argument is a word of a command.
var argument = checked(func(s string) error {
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("%q contains a NUL", s)
	}
	return nil
}, "")

var netBIOSName = regexp.MustCompile(`^[^\\/:*?"<>|@ \x00-\x1f]{1,15}$`)

// netBIOS parses the name of a Windows domain, in any case.
var netBIOS = plain(func(s string) (string, error) {
	if !netBIOSName.MatchString(s) {
		return "", wrong(fmt.Sprintf("%q is not the name of a Windows domain", s), `write what stands before the backslash in "OFFICE\\anna"`)
	}
	return strings.ToUpper(s), nil
})
