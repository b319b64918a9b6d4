package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/ldap"
	"pillarbox/mailstore/system"
)

// sources are the external sources of users and passwords: the directories of the configuration,
// and the accounts of this machine.
type sources struct {
	mu     sync.RWMutex
	ldap   map[string]openDirectory // owner: mu
	first  string                   // owner: mu
	system system.Checker           // owner: mu
}

// openDirectory is a directory, with the CA that it was opened with.
type openDirectory struct {
	*ldap.Directory
	ca string // the content of the CA file
}

// lookupLimit limits a whole lookup, because a session waits for it. The timeouts of the directory
// can add up to more.
const lookupLimit = 30 * time.Second

// configure opens the directories of the configuration. A directory whose settings and CA have not
// changed keeps its connections and its cache.
func (s *sources) configure(cfg *config.Config, log *slog.Logger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]openDirectory)
	var errs []error
	s.first = ""
	for i := range cfg.Directories {
		c := cfg.Directories[i].LDAP(log)
		if s.first == "" {
			s.first = c.Name
		}
		ca := textOf(c.CAFile)
		if old, ok := s.ldap[c.Name]; ok && old.ca == ca && old.Config().Equal(c) {
			next[c.Name] = old
			continue
		}
		d, err := ldap.Open(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next[c.Name] = openDirectory{d, ca}
	}
	for name, old := range s.ldap {
		if next[name].Directory != old.Directory {
			old.Close()
		}
	}
	s.ldap, s.system = next, cfg.System.Checker()
	return errors.Join(errs...)
}

// textOf returns the content of a file, "" if it cannot be read. ldap.Open then reports the error.
func textOf(file string) string {
	if file == "" {
		return ""
	}
	text, _ := durable.ReadSmallFile(file, durable.MaxSmall)
	return string(text)
}

func (s *sources) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.ldap {
		d.Close()
	}
	s.ldap = nil
}

// directory returns the directory with the name, or the first one for ""; nil if there is none.
func (s *sources) directory(name string) *ldap.Directory {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if name == "" {
		name = s.first
	}
	return s.ldap[name].Directory
}

// lookups returns the directories in the form of package directory.
func (s *sources) lookups(cfg *config.Config) map[string]directory.Lookup {
	all := make(map[string]directory.Lookup)
	for i := range cfg.Directories {
		c := &cfg.Directories[i]
		l := directory.Lookup{NetBIOS: c.NetBIOS, AtDelivery: c.MakesAtDelivery(), AtLogin: c.MakesAtLogin()}
		if d := s.directory(c.Name); d != nil && c.Lookup {
			l.People = people{d, c.RefuseAmbiguous}
		}
		all[c.Name] = l
	}
	return all
}

// people finds people in an LDAP directory.
type people struct {
	dir             *ldap.Directory
	refuseAmbiguous bool // an address of several entries is a permanent error
}

func (p people) Login(user, domain string) (directory.Person, error) {
	return p.ask(func(ctx context.Context) (ldap.Person, error) {
		return p.dir.Find(ctx, ldap.Login{User: user, Domain: addr.Domain(domain)})
	})
}

func (p people) Address(a addr.Address) (directory.Person, error) {
	return p.ask(func(ctx context.Context) (ldap.Person, error) { return p.dir.Address(ctx, a) })
}

func (p people) ask(find func(context.Context) (ldap.Person, error)) (directory.Person, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	found, err := find(ctx)
	if err := p.classify(err); err != nil {
		return directory.Person{}, err
	}
	return directory.Person{Mailbox: found.Mailbox, Aliases: found.Aliases, Members: found.Members, Quota: found.Quota}, nil
}

// classify gives an error of package ldap the class that package directory knows.
func (p people) classify(err error) error {
	switch {
	case errors.Is(err, ldap.ErrNotFound):
		return fmt.Errorf("%w: %w", directory.ErrNotFound, err)
	case errors.Is(err, ldap.ErrUnusable), p.refuseAmbiguous && errors.Is(err, ldap.ErrAmbiguous):
		return fmt.Errorf("%w: %w", directory.ErrUnusable, err)
	}
	return err
}

// Backend returns the backend that checks passwords by a method other than directory.ByFile; nil if
// the method is not configured.
func (o *Service) Backend(m directory.Method) auth.Backend {
	if name, ok := m.Directory(); ok {
		if d := o.sources.directory(name); d != nil {
			return ldapBackend{o, d}
		}
		return nil
	}
	o.sources.mu.RLock()
	defer o.sources.mu.RUnlock()
	if m != directory.BySystem || o.sources.system == nil {
		return nil
	}
	return systemBackend{o.sources.system}
}

type ldapBackend struct {
	office *Service
	dir    *ldap.Directory
}

var errAnother = errors.New("the directory gives this person another mailbox")

func (b ldapBackend) Check(ctx context.Context, login, mailbox addr.Address, password string) error {
	person, err := b.dir.Check(ctx, ldap.Login{User: login.Local, Domain: login.Domain}, password)
	switch {
	case errors.Is(err, ldap.ErrInvalid), errors.Is(err, ldap.ErrNotFound):
		return fmt.Errorf("%w: %w", auth.ErrInvalid, err)
	case err != nil:
		return err
	case !b.owns(person, mailbox):
		return fmt.Errorf("%w: %w", auth.ErrInvalid, errAnother)
	}
	return nil
}

// owns reports whether a person's password may open a mailbox. Two people in different domains may
// have the same name. So if the directory names the person's mailbox on this server, only that one
// and its aliases count. Otherwise the domain must be certain.
func (b ldapBackend) owns(p ldap.Person, mailbox addr.Address) bool {
	if p.Mailbox.IsZero() {
		return b.knowsDomain(mailbox)
	}
	if p.Mailbox == mailbox {
		return true
	}
	for _, alias := range p.Aliases {
		if alias == mailbox {
			return true
		}
	}
	hosted, err := b.office.Dir.Hosts(p.Mailbox.Domain)
	return err == nil && !hosted && b.knowsDomain(mailbox)
}

// knowsDomain reports whether a correct password is certain to belong to the mailbox's domain:
// either the search includes the domain, or the directory serves no other domain.
func (b ldapBackend) knowsDomain(mailbox addr.Address) bool {
	if b.dir.Config().AsksForDomain() {
		return true
	}
	dir := b.office.Dir
	all, err := dir.Domains()
	if err != nil {
		return false
	}
	for _, d := range all {
		if d == mailbox.Domain {
			continue
		}
		method, err := dir.MethodOf(d)
		if box, lookup := dir.Mailbox(addr.Address{Local: mailbox.Local, Domain: d}); lookup == nil && err == nil && box.Method != directory.ByFile {
			method = box.Method
		}
		if name, ok := method.Directory(); err != nil || ok && name == b.dir.Name() {
			return false
		}
	}
	return true
}

type systemBackend struct{ system.Checker }

// Check checks the password of the account with the mailbox's name. The login may have other
// letters in capitals than the account.
func (b systemBackend) Check(ctx context.Context, login, mailbox addr.Address, password string) error {
	account := login.Local
	if !mailbox.IsZero() {
		account = mailbox.Local
	}
	err := b.Checker.Check(ctx, account, password)
	if errors.Is(err, system.ErrInvalid) {
		return fmt.Errorf("%w: %w", auth.ErrInvalid, err)
	}
	return err
}
