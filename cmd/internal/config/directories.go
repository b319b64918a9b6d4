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

// defaultDirectory is an entry of [[directory]] with no key set; what depends on
// its kind is filled in when that is known.
func defaultDirectory() Directory {
	return Directory{
		Config: ldap.Config{
			Timeout: ldap.DefaultTimeout, Fresh: ldap.DefaultFresh,
			FreshPasswords: ldap.DefaultFreshPasswords, Stale: ldap.DefaultStale,
		},
		Create: CreateAtDelivery,
	}
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

func defaultSystem() System {
	return System{Check: UnixChkpwd, MinUID: system.DefaultMinUID, Timeout: system.DefaultTimeout}
}

// systemKeys are those of [system].
func systemKeys() []key {
	return []key{
		text("system.check", func(c *Config) *SystemCheck { return &c.System.Check }, words(UnixChkpwd, Checkpassword)),
		list("system.checkpassword", func(c *Config) *[]string { return &c.System.Checkpassword }, argument),
		number("system.min_uid", func(c *Config) *int { return &c.System.MinUID }, 1, 1<<31-1),
		text("system.timeout", func(c *Config) *duration { return &c.System.Timeout }, span("1s", "1m")),
	}
}

// directoryKeys are those of [[directory]].
func directoryKeys(section string, i int) []key {
	of := func(c *Config) *Directory { return &c.Directories[i] }
	in := func(name string) string { return section + "." + name }
	return entryKeys([]key{
		text(in("name"), func(c *Config) *string { return &of(c).Name }, optional(label)),
		text(in("kind"), func(c *Config) *ldap.Kind { return &of(c).Kind }, words(ldap.ActiveDirectory, ldap.OpenLDAP)),
		atLeastOne(`["ldaps://dc1.office.example"]`, list(in("servers"), func(c *Config) *[]string { return &of(c).Servers }, ldapServer)),
		boolean(in("start_tls"), func(c *Config) *bool { return &of(c).StartTLS }),
		text(in("ca_file"), func(c *Config) *string { return &of(c).CAFile }, optional(filePath)),
		text(in("timeout"), func(c *Config) *duration { return &of(c).Timeout }, span("1s", "1m")),
		text(in("bind_dn"), func(c *Config) *string { return &of(c).BindDN }, optional(credential)),
		text(in("password_file"), func(c *Config) *string { return &of(c).PasswordFile }, optional(filePath)),
		text(in("user_dn"), func(c *Config) *string { return &of(c).UserDN }, checked(ldap.CheckUserDN,
			`write one such as "%u@office.example", "OFFICE\\%u" or "uid=%u,ou=people,dc=office,dc=example"`)),
		text(in("base"), func(c *Config) *string { return &of(c).Base }, checked(ldap.CheckDN, `write one such as "dc=office,dc=example"`)),
		text(in("user_filter"), func(c *Config) *string { return &of(c).UserFilter }, checked(checkUserFilter, filterHint)),
		boolean(in("lookup"), func(c *Config) *bool { return &of(c).Lookup }),
		text(in("create"), func(c *Config) *Create { return &of(c).Create }, words(CreateAtDelivery, CreateAtLogin, CreateNever)),
		text(in("mailbox_attribute"), func(c *Config) *string { return &of(c).MailboxAttr }, attribute),
		list(in("alias_attributes"), func(c *Config) *[]string { return &of(c).AliasAttrs }, attribute),
		text(in("address_filter"), func(c *Config) *string { return &of(c).AddressFilter }, optional(checked(ldap.CheckFilter, filterHint))),
		text(in("group_filter"), func(c *Config) *string { return &of(c).GroupFilter }, optional(checked(ldap.CheckFilter, filterHint))),
		list(in("member_attributes"), func(c *Config) *[]string { return &of(c).MemberAttrs }, attribute),
		text(in("quota_attribute"), func(c *Config) *string { return &of(c).QuotaAttr }, optional(attribute)),
		text(in("quota_unit"), func(c *Config) *ldap.Unit { return &of(c).QuotaUnit }, words(ldap.Bytes, ldap.Kilobytes, ldap.Megabytes)),
		list(in("netbios"), func(c *Config) *[]string { return &of(c).NetBIOS }, netBIOS),
		text(in("fresh"), func(c *Config) *duration { return &of(c).Fresh }, span("1s", "24h")),
		text(in("fresh_passwords"), func(c *Config) *duration { return &of(c).FreshPasswords }, span("1s", "24h")),
		text(in("stale"), func(c *Config) *duration { return &of(c).Stale }, span("1s", "168h")),
	}, func(c *Config) bool { return i < len(c.Directories) })
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
