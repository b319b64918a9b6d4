package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/foreign"
	"pillarbox/mailstore/ldap"
)

// DirectoryInfo is one [[directory]] of the configuration.
type DirectoryInfo struct {
	Name    string        `json:"name"`
	Servers []string      `json:"servers"`
	Lookup  bool          `json:"lookup"`  // it may provide mailboxes, aliases and groups
	Domains []addr.Domain `json:"domains"` // domains whose passwords it checks
}

// ListDirectories lists the directories of the configuration, in its order.
func (o *Service) ListDirectories() ([]DirectoryInfo, error) {
	all := []DirectoryInfo{}
	domains, err := o.Dir.Domains()
	if err != nil {
		return nil, err
	}
	for _, c := range o.Config().Directories {
		info := DirectoryInfo{Name: c.Name, Servers: c.Servers, Lookup: c.Lookup, Domains: []addr.Domain{}}
		for _, d := range domains {
			m, err := o.Dir.MethodOf(d)
			if err != nil && unreadable(err) {
				o.cannotRead("domain "+string(d), d, err)
				continue
			}
			if err != nil {
				return nil, o.explain(err, d, "domain list")
			}
			if name, ok := m.Directory(); ok && name == c.Name {
				info.Domains = append(info.Domains, d)
			}
		}
		all = append(all, info)
	}
	return all, nil
}

// DirectoryStep is one step of TestDirectory.
type DirectoryStep struct {
	Server string        `json:"server,omitempty"` // "" if the step concerns no single server
	What   string        `json:"what"`
	Detail string        `json:"detail,omitempty"`
	Error  string        `json:"error,omitempty"` // "": the step succeeded
	Took   time.Duration `json:"took"`            // nanoseconds
}

// DirectoryTrial names a directory and, if User is set, a user of it. A password is tried if there
// is one.
type DirectoryTrial struct{ Name, User, Password string }

func (o *Service) testDirectory(in DirectoryTrial) ([]DirectoryStep, error) {
	return o.TestDirectory(in.Name, in.User, in.Password)
}

// TestDirectory tests every server of a directory. With a user and a password it also tests a
// login, up to the mailbox.
func (o *Service) TestDirectory(name, user, password string) ([]DirectoryStep, error) {
	if err := o.RequireAll(password != ""); err != nil { // a test with a password can be used to guess it
		return nil, err
	}
	dir := o.sources.directory(name)
	if dir == nil {
		return nil, Hint(fmt.Errorf("there is no directory %q", name), "'pillarbox admin directory list' shows the configured directories")
	}
	var login ldap.Login
	if user != "" {
		a, err := o.ParseUser(user)
		if err != nil {
			return nil, err
		}
		login = ldap.Login{User: a.Local, Domain: a.Domain}
		if password != "" {
			o.Record("directory "+dir.Name(), nil, map[string]any{"password_tried": a.String()})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*lookupLimit)
	defer cancel()
	steps := []DirectoryStep{}
	for _, s := range dir.Test(ctx, login, password) {
		const enough = 1000
		step := DirectoryStep{Server: s.Server, What: s.What, Detail: foreign.Printable(s.Detail, enough), Took: s.Took}
		if s.Err != nil {
			step.Error = foreign.Printable(s.Err.Error(), enough)
		}
		steps = append(steps, step)
	}
	if user != "" {
		steps = append(steps, o.openMailbox(dir, addr.Address{Local: login.User, Domain: login.Domain}))
	}
	return steps, nil
}

// openMailbox returns the step that finds the mailbox for a login as a.
func (o *Service) openMailbox(dir *ldap.Directory, a addr.Address) DirectoryStep {
	began := time.Now()
	detail, err := o.mailboxBehind(dir, a)
	step := DirectoryStep{What: "open the mailbox of " + a.String(), Detail: detail, Took: time.Since(began)}
	if err != nil {
		step.Error = err.Error()
	}
	return step
}

func (o *Service) mailboxBehind(dir *ldap.Directory, a addr.Address) (detail string, err error) {
	box, err := o.Dir.Login(a.String())
	known := err == nil
	name, ok := box.Method.Directory()
	switch {
	case !known && !errors.Is(err, directory.ErrNotFound):
		return "", err
	case !known && box.Method == "":
		return "", fmt.Errorf("%s is not a domain of this server", a.Domain)
	case (!ok || name != dir.Name()) && box.Account.Method != "":
		return fmt.Sprintf("not yet: 'pillarbox admin mailbox migrate-auth %s directory:%s' switches over; %s checks its password now", box.Address, dir.Name(), box.Method), nil
	case !ok || name != dir.Name():
		return fmt.Sprintf("not yet: 'pillarbox admin domain method %s directory:%s' switches over; %s checks its password now", a.Domain, dir.Name(), box.Method), nil
	case !known:
		return "", o.noMailbox(name)
	case box.New:
		return box.Address.String() + ", created at the first login", nil
	}
	return box.Address.String(), nil
}

// noMailbox returns the reason why a user of a directory has no mailbox here.
func (o *Service) noMailbox(name string) error {
	for _, c := range o.Config().Directories {
		switch {
		case c.Name != name:
		case !c.Lookup:
			return errors.New("no mailbox has this name, and lookup is off; 'pillarbox admin mailbox add --no-password' makes one")
		case !c.MakesAtLogin():
			return errors.New(`no mailbox has this name, and create = "never"; 'pillarbox admin mailbox add --no-password' makes one`)
		}
	}
	return errors.New("no mailbox has this name, and the directory has no user for whom one can be created")
}
