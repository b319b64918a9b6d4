// Package admin is the administration of a data directory: one verb for each thing that an
// administrator can have done. verbs.go declares the verbs, with name, permission and function.
//
// Start with [Service], a data directory that is opened, and [Verb]. [Service.For] gives the service
// to a caller, with the caller's rights and place in the audit log. [Verb.Do] is the only way in. The
// command line, the winpop syntax and package control, which carries verbs to the running server,
// all call it.
//
// Most verbs work on the files, whether or not a server runs: a change counts at once, because the
// server checks the files by their stat. [Running] is what a verb reaches of the server that it runs
// in. Package admin must not know how a verb travels, and must not print or ask.
package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/lastlogin"
	"pillarbox/mailstore"
	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/track"
	"pillarbox/quota"
	"pillarbox/smtp/devices"
	"pillarbox/smtp/srs"
	"pillarbox/tls/certs"
)

// HintError is an error with a line for the person who reads it: what to do.
type HintError struct {
	Err  error
	Hint string
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }

// Hint adds a hint to an error; nil stays nil.
func Hint(err error, hint string, args ...any) error {
	if err == nil {
		return nil
	}
	return &HintError{err, fmt.Sprintf(hint, args...)}
}

// Files is the file system of a data directory. *durable.Root is the one in use; a simulation brings its own.
type Files interface {
	durable.FS
	// Name is the directory, for messages and for what lies in it beside the mail.
	Name() string
	// Filesystem returns the kind of file system, and whether it keeps the promises that a log rests on.
	Filesystem() (name string, trusted bool, err error)
	Close() error
}

// Service is a data directory opened for work. Close it.
type Service struct {
	Root  Files
	Dir   *directory.Directory
	Store *mailstore.Store
	Quota *quota.Ledger
	// Devices are the machines that may send without a log-in.
	Devices *devices.Registry
	// SRS rewrites the senders of forwarded mail.
	SRS *srs.Keys
	// LastLogins knows when each mailbox was last logged in to.
	LastLogins *lastlogin.Keeper
	// Answers remembers who got an automatic answer of a mailbox.
	Answers *absence.Memory
	// Events stores what happens to mail. nil: the server is another process, or stores none.
	Events *track.Log
	// Keeper makes what is kept of passwords.
	Keeper *auth.SecretStore
	// Checkpoint empties the store's log before mail is put back: the log knows messages by mailbox and name. nil: no log
	// can hold any.
	Checkpoint func() error
	// Exclusively makes a change of mailboxes' directories while no operation acts on their mail. nil: none can.
	Exclusively func(change func() error) error
	// CountAgain makes a server that runs beside this process count anew: see recount. nil: this
	// process is the server, or no server runs.
	CountAgain func() ([]quota.Recount, error)
	// Running is the server whose Service this is; nil if the verbs are done without one.
	Running *Running

	log   *slog.Logger // may be nil
	cfg   *atomic.Pointer[config.Config]
	watch *atomic.Pointer[func(quota.Event)]

	sources *sources

	damages   *durable.DamageReporter
	policies  *policyLock
	operators *operators
	operator  *Operator // the caller whose rights limit the verbs; nil: a caller who may do everything
	recorder  Recorder
	tell      func(Part)                                   // takes what a verb tells the caller; nil discards it
	offline   *offline                                     // see WorkOffline; nil in the server
	space     func(path string) (durable.DiskSpace, error) // of the disk
}

// Open opens the data directory that the configuration names, which must be
// there. It takes no lock and starts nothing. log is for what goes on behind the
// verbs, such as a directory that does not answer; nil is silence.
func Open(cfg *config.Config, log *slog.Logger) (*Service, error) {
	root, err := durable.Open(cfg.Data)
	if errors.Is(err, fs.ErrPermission) {
		return nil, Hint(fmt.Errorf("data directory: %w", err), "run this as root (sudo), or as the user that the server runs as")
	} else if err != nil {
		return nil, Hint(fmt.Errorf("data directory: %w", err), "'data' in the configuration names it; 'pillarbox setup' makes it")
	}
	return OpenOn(root, cfg, log)
}

// OpenOn is Open on a file system that is open already. The Service closes it, after an error too.
func OpenOn(root Files, cfg *config.Config, log *slog.Logger) (*Service, error) {
	if err := errors.Join(checkVersion(root), checkRestored(root)); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	damages := newDamages(root.Name(), log)
	o := &Service{
		Root: root, Dir: directory.New(root, directory.Options{}), Devices: devices.New(root).Report(damages), damages: damages,
		SRS: srs.Open(root).Report(damages), LastLogins: lastlogin.Open(root).Report(damages),
		Answers: absence.OpenMemory(root).Report(damages),
		cfg:     new(atomic.Pointer[config.Config]), watch: new(atomic.Pointer[func(quota.Event)]),
		sources: new(sources), log: log, Keeper: NewKeeper(cfg),
		operators: newOperators(root, damages), policies: new(policyLock), space: durable.Space, recorder: NewRecorder(root, Server(), nil),
	}
	o.Dir.Report(damages)
	o.observe()
	if err := o.SetConfig(cfg); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	// The ledger counts through the store, and the store asks the ledger.
	o.Quota = quota.NewLedger(quota.Options{Limits: o.limitsAt, Usage: o.usage, Members: o.members, Stamp: o.stampAt, Notify: o.crossed})
	var err error
	o.Store, err = mailstore.Open(root, mailstore.Options{Reserver: o.Quota})
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	o.keepDeleted()
	return o, nil
}

// OpenCertificate opens the certificate that the configuration names, or the one of the server's own
// CA that a server shows if that is unusable.
func OpenCertificate(cfg *config.Config) (*certs.Manager, error) {
	m, err := certs.OpenAny(cfg.Certs())
	return m, Hint(err, hintCertificate)
}

const hintCertificate = "'pillarbox setup' makes a certificate of the server's own; [tls] in the configuration names another"

// StartCertificate opens the certificate for a server. One that has domains starts even if its
// certificate is missing or unusable.
func (o *Service) StartCertificate(cfg *config.Config) (*certs.Manager, error) {
	if domains, err := o.Dir.Domains(); err == nil && len(domains) == 0 {
		return OpenCertificate(cfg)
	}
	m, err := certs.Start(cfg.Certs(), []string{string(cfg.Hostname)}, time.Now())
	return m, Hint(err, hintCertificate)
}

// Close releases the data directory.
func (o *Service) Close() error {
	o.sources.close()
	return o.Root.Close()
}

// checkpointed does something between two checkpoints.
func (o *Service) checkpointed(do func() error) error {
	if err := o.checkpoint(); err != nil {
		return err
	}
	err := do()
	if o.Checkpoint != nil {
		err = errors.Join(err, o.Checkpoint())
	}
	return err
}

// checkpoint gives what only the log holds its files, before an act that reads or moves files.
func (o *Service) checkpoint() error {
	if o.Checkpoint == nil {
		return nil
	}
	if err := o.Checkpoint(); err != nil {
		return notYet(err)
	}
	return nil
}

// exclusively makes a change of mailboxes' directories.
func (o *Service) exclusively(change func() error) error {
	if o.Exclusively == nil {
		return change()
	}
	began := false
	err := o.Exclusively(func() error {
		began = true
		defer o.Quota.Forget()
		return change()
	})
	if err != nil && !began {
		return notYet(err)
	}
	return err
}

func notYet(err error) error {
	return Hint(fmt.Errorf("mail that is on its way to the disk: %w", err), "see what the server's log says; nothing was changed")
}

// Config is the configuration in force.
func (o *Service) Config() *config.Config { return o.cfg.Load() }

// SetConfig puts another configuration in force; the data directory stays. The error is that of a directory that cannot be, such as one whose
// CA cannot be read; all else is in force even so.
func (o *Service) SetConfig(cfg *config.Config) error {
	if old := o.cfg.Swap(cfg); old != nil && old.LogIns.KeyFile != cfg.LogIns.KeyFile {
		o.Keeper.SetKey(newVault(cfg))
	}
	o.Keeper.SetRules(RulesOf(cfg))
	o.keepDeleted()
	err := o.sources.configure(cfg, o.log)
	o.Dir.SetOptions(directory.Options{
		DefaultDomain: cfg.DefaultDomain,
		Postmaster:    cfg.Postmaster,
		PlusSeparator: cfg.Mailboxes.PlusSeparator,
		LoginNames:    cfg.LogIns.Names,
		Method:        cfg.LogIns.Method,
		Lookups:       o.sources.lookups(cfg),
		First:         o.sources.first,
		Forwarded:     o.forwardedSender,
		Shared:        func(d addr.Domain) bool { return cfg.Routes.For(d).Unresolved },
	})
	return Hint(err, "[[directory]] in the configuration names it")
}

// ParseUser reads the name of a mailbox, alias or group as an administrator
// types it: a full address, or a bare name in the default domain.
func (o *Service) ParseUser(name string) (addr.Address, error) {
	a, err := o.Dir.ParseUser(name)
	return a, Hint(err, "%s", nameHint(name))
}

// nameHint returns how to write a name that is not an address. The domain is the answer only if
// the part before it is right.
func nameHint(name string) string {
	local, _, _ := strings.Cut(name, "@")
	_, err := addr.ParseLocal(local)
	switch {
	case err == nil || local == "":
		return "write it as name@domain"
	case strings.ContainsFunc(local, unicode.IsSpace):
		return "write the part before @ without blanks; " +
			"'pillarbox admin mailbox name' gives a mailbox the full name of its user"
	}
	return fmt.Sprintf("the part before @ is 1 to %d letters, digits and . _ - ' & = ~ #", addr.MaxLocal)
}
