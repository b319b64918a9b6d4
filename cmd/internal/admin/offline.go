package admin

import (
	"errors"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

const (
	// DataLock is the file that a server locks while it serves a data directory.
	DataLock = "lock"
	// ServerLock and AdminLock are what a holder of DataLock says that it is.
	ServerLock = "server"
	AdminLock  = "admin"
)

// ErrDataLocked is the class of errors of a verb that needs the data directory for itself while a
// server, or another command, holds it. Nothing was changed.
var ErrDataLocked = errors.New("the data directory is in use")

// WorkOffline prepares a Service that was opened while no server runs. Its verbs that need the
// store for themselves keep a server from starting, and do what its start would do first.
func (o *Service) WorkOffline() {
	o.offline = true
	o.Checkpoint = func() error { return o.alone(o.replay) }
	o.Exclusively = func(change func() error) error {
		return o.alone(func() error {
			if err := o.replay(); err != nil {
				return err
			}
			return o.Store.WithReserve(change)
		})
	}
}

// alone does something that must happen in the server or without any: offline it holds the data
// directory meanwhile.
func (o *Service) alone(do func() error) error {
	if !o.offline {
		return do()
	}
	unlock, err := durable.TryLockAs(o.Root, DataLock, AdminLock)
	if errors.Is(err, durable.ErrLocked) {
		return classified{err, ErrDataLocked}
	} else if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// replay does what a server's start would do first.
func (o *Service) replay() error {
	opts, err := o.recoverOptions()
	if err != nil {
		return err
	}
	opts.Offline = true
	return errors.Join(o.Store.Recover(opts), o.Store.Close())
}

// recoverOptions are the options that follow from the file system.
func (o *Service) recoverOptions() (mailstore.RecoverOptions, error) {
	_, trusted, err := o.Root.Filesystem()
	return mailstore.RecoverOptions{SyncEach: !trusted}, err
}

// emptyLog is the verb behind "mailbox import", which another process does on the files.
func (o *Service) emptyLog() (struct{}, error) {
	if o.Running == nil {
		return struct{}{}, ErrNotRunning
	}
	return struct{}{}, o.Checkpoint()
}
