// Package system checks passwords of accounts of the machine itself, through PAM's helper
// unix_chkpwd or a program that speaks the checkpassword protocol.
//
// Start with Checker and its two implementations, UnixChkpwd and Checkpassword. A check never shows
// a password in an error, and its duration does not reveal which accounts exist.
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

// Classes of failure. Their texts are for the log, not for clients.
var (
	// ErrInvalid means a wrong password, or an account that must not log in.
	ErrInvalid = errors.New("the system refuses the password")
	// ErrUnavailable means that the password could not be checked.
	ErrUnavailable = errors.New("the system gives no answer")
)

// Checker verifies passwords of accounts. Check returns nil, ErrInvalid or ErrUnavailable.
type Checker interface {
	Check(ctx context.Context, user, password string) error
}

// Defaults of both checkers.
const (
	DefaultTimeout = 10 * time.Second
	DefaultMinUID  = 1000 // the first uid of a person's account on Debian
)

const overflowUID = 65534 // the account that owns no files

var (
	errUnknown = errors.New("no such account")
	errSystem  = errors.New("an account of the system, not of a person")
)

// Exists reports whether the machine has an account of this name that may have mail. uid 0, uid
// 65534 and accounts below minUID may not. The account must be in /etc/passwd.
func Exists(name string, minUID int) (bool, error) {
	err := account(name, minUID)
	if errors.Is(err, ErrInvalid) {
		return false, nil
	}
	return err == nil, err
}

// account returns why an account must not log in.
func account(name string, minUID int) error {
	if name == "" || len(name) > 256 || strings.HasPrefix(name, "-") ||
		strings.ContainsFunc(name, unsafeRune) {
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
	case u.Username != name: // the lookup ignored case, for example
		return fmt.Errorf("%w: %w", ErrInvalid, errUnknown)
	case uid < max(minUID, 1), uid == overflowUID:
		return fmt.Errorf("%w: %w", ErrInvalid, errSystem)
	}
	return nil
}

// unsafeRune reports characters that no account name has and that another program might
// misinterpret.
func unsafeRune(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`:/\,"'`+"`", r)
}
