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

// ErrDataLocked is the class of errors of a verb that is done offline and needs the data directory
// for itself while a server, or another command, holds it. Nothing was changed.
var ErrDataLocked = errors.New("the data directory is in use")

// WorkOffline prepares a Service that was opened while no server answers. Its verbs that change
// something hold the data directory meanwhile, so none is done beside a server that cannot be
// reached. Those that need the store for themselves also do what a server's start would do first.
func (o *Service) WorkOffline() {
	o.offline = new(offline)
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

// offline is the state of a Service that works without a server. All views of the Service share it.
// One goroutine at a time does verbs offline.
type offline struct {
	held bool // by the verb that is done: the lock of the data directory
}

// alone does something that must happen in the server or without any: offline it holds the data
// directory meanwhile.
func (o *Service) alone(do func() error) error {
	if o.offline == nil || o.offline.held {
		return do()
	}
	unlock, err := durable.TryLockAs(o.Root, DataLock, AdminLock)
	if errors.Is(err, durable.ErrLocked) {
		return classified{err, ErrDataLocked}
	} else if err != nil {
		return err
	}
	o.offline.held = true
	defer func() {
		o.offline.held = false
		unlock()
	}()
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
