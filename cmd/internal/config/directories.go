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

// Directory is one [[directory]]: where passwords are checked and people are
// looked up that no file here names.
type Directory struct {
	ldap.Config

	NetBIOS []string // names of its domain in "DOMAIN\user", in capitals
	Lookup  bool     // mailboxes, aliases, groups and quota may come from it
	Create  Create   // when a mailbox is made that it knows
}

// Create says when the directory of a mailbox is made that a directory elsewhere
// knows.
type Create string

// The values of Create.
const (
	CreateAtDelivery Create = "delivery" // at the first message, or log-in
	CreateAtLogin    Create = "login"    // at the first log-in
	CreateNever      Create = "never"
)

// MakesAtDelivery says whether a mailbox is made at its first message.
func (d *Directory) MakesAtDelivery() bool { return d.Create == CreateAtDelivery }

// MakesAtLogin says whether a mailbox is made at its first log-in.
func (d *Directory) MakesAtLogin() bool { return d.Create != CreateNever }

// LDAP is the directory's configuration for package ldap.
func (d *Directory) LDAP(log *slog.Logger) ldap.Config {
	c := d.Config
	c.Log = log
	return c
}

// SystemCheck is a way to check the passwords of this machine's own accounts.
type SystemCheck string

// The values of SystemCheck.
const (
	UnixChkpwd    SystemCheck = "unix_chkpwd"   // PAM's helper
	Checkpassword SystemCheck = "checkpassword" // a program of that protocol
)

// System is how the passwords of this machine's own accounts are checked.
type System struct {
	Check         SystemCheck
	Checkpassword []string      // absolute path and arguments; empty with UnixChkpwd
	MinUID        int           // accounts below are nobody's
	Timeout       time.Duration // of one check
}

// Checker checks them.
func (s *System) Checker() system.Checker {
	if s.Check == Checkpassword {
		return &system.Checkpassword{Program: s.Checkpassword, Timeout: s.Timeout}
	}
	return &system.UnixChkpwd{MinUID: s.MinUID, Timeout: s.Timeout}
}

const filterHint = `write one such as "(&(objectClass=person)(uid=%u))"; %u is the user name, %d the domain, %a the address`

// checkUserFilter refuses a filter that finds the same people whoever logs in.
func checkUserFilter(filter string) error {
	if err := ldap.CheckFilter(filter); err != nil {
		return err
	}
	if !strings.Contains(filter, "%u") && !strings.Contains(filter, "%a") {
		return fmt.Errorf("%q has neither %%u nor %%a, and finds the same people whoever logs in", filter)
	}
	return nil
}

var attribute = checked(ldap.CheckAttribute, `write one such as "mail"`)

// checked takes a text that something finds nothing wrong with.
func checked(check func(string) error, hint string) codec[string] {
	return codec[string]{
		parse: func(s string) (string, error) {
			if err := check(s); err != nil {
				return "", wrong(err.Error(), hint)
			}
			return s, nil
		},
		format: asIs,
	}
}

var ldapServer = checked(func(s string) error {
	_, err := ldap.ParseServer(s)
	return err
}, `write "ldaps://dc1.office.example", or "ldap://…" for StartTLS`)

// argument is a word of a command.
var argument = checked(func(s string) error {
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("%q holds a NUL", s)
	}
	return nil
}, "")

var netBIOSName = regexp.MustCompile(`^[^\\/:*?"<>|@ \x00-\x1f]{1,15}$`)

// netBIOS takes the name of a Windows domain, in capitals or not.
var netBIOS = codec[string]{
	parse: func(s string) (string, error) {
		if !netBIOSName.MatchString(s) {
			return "", wrong(fmt.Sprintf("%q is no name of a Windows domain", s), `write what stands before the backslash in "OFFICE\\anna"`)
		}
		return strings.ToUpper(s), nil
	},
	format: asIs,
}
