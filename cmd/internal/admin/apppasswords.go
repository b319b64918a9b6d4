package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

const (
	// maxAppPasswords limits the app passwords of a mailbox. A user needs one for each program.
	maxAppPasswords = 50
	// maxLabel is the length in characters of the name that a user gives to a program or a device.
	maxLabel = 64
)

// AppPasswordToAdd is the input of MailboxAppPasswordAdd.
type AppPasswordToAdd struct {
	User string
	Name string // of the program or device
	For  string // pop3, smtp or both; "" means both
}

// AppPasswordMade is a new app password. It is the only place where the password is ever shown.
type AppPasswordMade struct {
	Change
	Mailbox  addr.Address `json:"mailbox"`
	ID       string       `json:"id"`
	Password string       `json:"password"`
}

// AppPasswordStatus is an app password of a mailbox, without the password.
type AppPasswordStatus struct {
	ID      string    `json:"id"` // the first four characters of the password
	Name    string    `json:"name"`
	For     string    `json:"for"` // the services that it is for: both, pop3 or smtp
	Created time.Time `json:"created"`

	LastUse     *time.Time   `json:"last_use"`         // null for never
	LastService auth.Service `json:"last_use_service"` // "" for never
	LastRemote  string       `json:"last_use_ip"`      // "" for never
}

// checkLabel returns the name of a program or device without blanks around it.
func checkLabel(name string) (string, error) {
	name = strings.Join(strings.Fields(name), " ")
	switch {
	case name == "":
		return "", errors.New("a name is missing, such as \"Anna's phone\"")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "", errors.New("the name has characters that cannot be shown")
	case utf8.RuneCountInString(name) > maxLabel:
		return "", fmt.Errorf("the name is longer than %d characters", maxLabel)
	}
	return name, nil
}

// parseScope reads the services of an app password.
func parseScope(text string) (directory.Access, error) {
	switch strings.ToLower(cmp.Or(text, accessBoth)) {
	case accessBoth:
		return directory.AccessBoth, nil
	case string(directory.AccessPOP3):
		return directory.AccessPOP3, nil
	case string(directory.AccessSMTP):
		return directory.AccessSMTP, nil
	}
	return "", Hint(fmt.Errorf("%q does not name the services of an app password", text),
		"write pop3, smtp or both")
}

// addAppPassword makes an app password for a program or device of a user.
func (o *Service) addAppPassword(in AppPasswordToAdd) (AppPasswordMade, error) {
	scope, err := parseScope(in.For)
	if err != nil {
		return AppPasswordMade{}, err
	}
	name, err := checkLabel(in.Name)
	if err != nil {
		return AppPasswordMade{}, err
	}
	var made AppPasswordMade
	done := fmt.Sprintf("has a new app password for %s: %s", scopeText(scope), name)
	made.Change, err = o.changeMailbox(in.User, done, func(a addr.Address) ([]string, error) {
		box, err := o.Dir.Mailbox(a)
		if err != nil {
			return nil, err
		}
		password, add, err := auth.NewAppPassword(box.Account, name, scope, time.Now())
		if err != nil {
			return nil, err
		}
		made.Mailbox, made.Password = a, password
		return o.appPasswordWarnings(box, scope), o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			if err := roomForAppPassword(acc, a, name); err != nil {
				return err
			}
			p, err := add(acc)
			made.ID = p.ID
			return err
		})
	})
	if err != nil {
		return AppPasswordMade{}, err
	}
	return made, nil
}

// roomForAppPassword refuses a name that is taken, and more app passwords than a mailbox may have.
func roomForAppPassword(acc *directory.Account, a addr.Address, name string) error {
	if len(acc.AppPasswords) >= maxAppPasswords {
		return Hint(fmt.Errorf("%s has %d app passwords already", a, maxAppPasswords),
			"'pillarbox admin mailbox app-password remove %s ID' removes one", a)
	}
	if slices.ContainsFunc(acc.AppPasswords, func(p directory.AppPassword) bool {
		return strings.EqualFold(p.Name, name)
	}) {
		return Hint(fmt.Errorf("%s has an app password with the name %q already", a, name),
			"choose another name, or remove that one")
	}
	return nil
}

// appPasswordWarnings says what would keep a program from using an app password.
func (o *Service) appPasswordWarnings(box directory.Mailbox, scope directory.Access) (all []string) {
	settings := o.AuthSettings()
	if why := settings.Refuses(auth.PLAIN); why != "" {
		all = append(all, "no program can use it: it is for PLAIN, LOGIN, USER and PASS, and "+why)
	}
	for _, s := range []directory.Service{directory.ServicePOP3, directory.ServiceSMTP} {
		if scope.Permits(s) && !box.Account.Access.Permits(s) {
			all = append(all, fmt.Sprintf("the mailbox may not use %s; 'pillarbox admin mailbox access' changes it",
				strings.ToUpper(string(s))))
		}
	}
	return all
}

// scopeText says what an app password is for.
func scopeText(scope directory.Access) string {
	switch scope {
	case directory.AccessPOP3:
		return "POP3"
	case directory.AccessSMTP:
		return "SMTP"
	}
	return "POP3 and SMTP"
}

// listAppPasswords lists the app passwords of a mailbox, the oldest first.
func (o *Service) listAppPasswords(user string) ([]AppPasswordStatus, error) {
	box, err := o.mailbox(user)
	if err != nil {
		return nil, err
	}
	return o.appPasswords(box), nil
}

func (o *Service) appPasswords(box directory.Mailbox) []AppPasswordStatus {
	all := []AppPasswordStatus{}
	if len(box.Account.AppPasswords) == 0 {
		return all
	}
	lastUse := o.lastLogins()
	for _, p := range box.Account.AppPasswords {
		s := AppPasswordStatus{ID: p.ID, Name: p.Name, For: accessText(p.Scope), Created: p.Created}
		if l, ok := lastUse(box.Address, p.ID, p.Created); ok {
			s.LastUse, s.LastService = &l.Time, l.Service
			if l.Remote != (netip.Addr{}) {
				s.LastRemote = l.Remote.String()
			}
		}
		all = append(all, s)
	}
	return all
}

// removeAppPassword removes the app password with an ID or a name. Programs that use it cannot log
// in any more, and open sessions end with their next command.
func (o *Service) removeAppPassword(user, which string) (Change, error) {
	return o.changeMailbox(user, "has one app password less: "+which, func(a addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			for _, p := range acc.AppPasswords {
				if p.ID == strings.ToLower(which) || strings.EqualFold(p.Name, which) {
					return acc.RemoveAppPassword(p.ID)
				}
			}
			return Hint(fmt.Errorf("%s has no app password with the ID or name %q", a, which),
				"'pillarbox admin mailbox app-password list %s' shows them", a)
		})
	})
}
