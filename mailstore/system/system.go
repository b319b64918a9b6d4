// Package system asks this machine whether a password is that of one of its own
// accounts: through PAM's helper unix_chkpwd, or through a program that speaks
// the checkpassword protocol.
package system

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"
)

// The classes of failure. Their texts are for the log, not for clients.
var (
	// ErrInvalid: not the password, or nobody who may log in.
	ErrInvalid = errors.New("the system refuses the password")
	// ErrUnavailable: the question could not be asked, or was not answered.
	ErrUnavailable = errors.New("the system gives no answer")
)

// A Checker verifies passwords of accounts. Check returns nil, ErrInvalid or
// ErrUnavailable. UnixChkpwd and Checkpassword are the two.
type Checker interface {
	Check(ctx context.Context, user, password string) error
}

// The defaults of both.
const (
	DefaultTimeout = 10 * time.Second
	DefaultMinUID  = 1000 // where Debian's accounts of people begin
)

const nobody = 65534 // the user id of what belongs to nobody

var (
	errUnknown = errors.New("no such account")
	errSystem  = errors.New("an account of the system, not of a person")
)

// Exists reports whether the machine has an account of this name that may have
// mail: root, nobody and those below minUID may not. The account must be in /etc/passwd.
func Exists(name string, minUID int) (bool, error) {
	err := account(name, minUID)
	if errors.Is(err, ErrInvalid) {
		return false, nil
	}
	return err == nil, err
}

// account says why nobody logs in as name.
func account(name string, minUID int) error {
	if name == "" || len(name) > 256 || strings.HasPrefix(name, "-") || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%w: %w", ErrInvalid, errUnknown)
	}
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		return fmt.Errorf("%w: %w", ErrInvalid, errUnknown)
	} else if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	uid, err := strconv.Atoi(u.Uid)
	switch {
	case err != nil:
		return fmt.Errorf("%w: account %s has the user id %q", ErrUnavailable, name, u.Uid)
	case u.Username != name: // found by another rule than equality
		return fmt.Errorf("%w: %w", ErrInvalid, errUnknown)
	case uid < max(minUID, 1), uid == nobody:
		return fmt.Errorf("%w: %w", ErrInvalid, errSystem)
	}
	return nil
}

// odd reports what no name of an account holds and another program might take
// for something else.
func odd(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`:/\,"'`+"`", r) }
