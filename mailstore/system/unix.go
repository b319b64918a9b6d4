package system

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
)

// UnixChkpwd checks passwords with PAM's helper unix_chkpwd(8), which compares them with
// /etc/shadow. The helper answers about other users' accounts only if the server is root or in the
// group shadow. For the group, set SupplementaryGroups=shadow in the systemd unit; setuid is not
// needed. The server can then read every password hash. Without either, every check is
// ErrUnavailable; use a Checkpassword program instead.
//
// The zero value is ready to use.
type UnixChkpwd struct {
	Program string        // "": /usr/sbin/unix_chkpwd of Debian's libpam-modules-bin
	Timeout time.Duration // 0: DefaultTimeout
	MinUID  int           // lower uids are refused without a check; 0: DefaultMinUID

	runner runner
}

// maxPAM is the length of the helper's password buffer in octets (PAM_MAX_RESP_SIZE).
const maxPAM = 512

// Results of PAM (security/_pam_types.h).
const (
	pamSuccess        = 0
	pamAuthErr        = 7
	pamInfoUnavail    = 9
	pamUserUnknown    = 10
	pamNewTokenNeeded = 12
	pamAccountExpired = 13
	pamTokenExpired   = 27
)

// Check verifies a password; the error is nil, ErrInvalid or ErrUnavailable. It also refuses an
// expired account, and a password that must be changed. A refusal takes a multiple of 250 ms, so
// that its duration does not reveal which accounts exist.
func (c *UnixChkpwd) Check(ctx context.Context, user, password string) error {
	return padRefusal(ctx, func() error {
		if err := account(user, cmp.Or(c.MinUID, DefaultMinUID)); err != nil {
			return err
		}
		if err := checkPassword(password, maxPAM-1); err != nil {
			return err
		}
		if err := c.ask(ctx, password+"\x00", user, "nonull"); err != nil {
			return err
		}
		return c.ask(ctx, "", user, "chkexpiry")
	})
}

func (c *UnixChkpwd) ask(ctx context.Context, stdin string, args ...string) error {
	program := cmp.Or(c.Program, "/usr/sbin/unix_chkpwd")
	r, err := c.runner.run(ctx, job{
		argv:    append([]string{program}, args...),
		stdin:   stdin,
		timeout: cmp.Or(c.Timeout, DefaultTimeout),
	})
	if err != nil {
		return err
	}
	switch r.code {
	case pamSuccess:
		return nil
	case pamAuthErr, pamUserUnknown:
		return fmt.Errorf("%w: wrong password", ErrInvalid)
	case pamNewTokenNeeded, pamTokenExpired:
		return fmt.Errorf("%w: the password has expired", ErrInvalid)
	case pamAccountExpired:
		return fmt.Errorf("%w: the account has expired", ErrInvalid)
	case pamInfoUnavail:
		return fmt.Errorf("%w: %s may not read /etc/shadow for this server: "+
			"it must be root's or in the group shadow, or ask a checkpassword program", ErrUnavailable, program)
	}
	return fmt.Errorf("%w: %s: exit status %d%s", ErrUnavailable, program, r.code, r.quoted("\x00"))
}

// checkPassword refuses passwords that cannot be passed to a program.
func checkPassword(password string, longest int) error {
	switch {
	case password == "":
		return fmt.Errorf("%w: the password is empty", ErrInvalid)
	case strings.ContainsRune(password, 0):
		return fmt.Errorf("%w: the password contains a NUL", ErrInvalid)
	case len(password) > longest:
		return fmt.Errorf("%w: the password is longer than %d octets", ErrInvalid, longest)
	}
	return nil
}
