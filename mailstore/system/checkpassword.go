package system

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Checkpassword checks passwords with a program that speaks the checkpassword
// protocol (cr.yp.to/checkpwd/interface.html): it reads name, password and a time
// stamp from descriptor 3, and if they are good runs the program that its
// arguments end in, which here does nothing and succeeds. Exit status 1 means a
// bad password; every other one that the program is of no use now.
//
// The program decides what accounts there are; root's is never asked about.
type Checkpassword struct {
	Program   []string      // absolute path, and arguments before the program to run
	Timeout   time.Duration // 0: DefaultTimeout
	MaxOutput int           // what it may write, in octets, before it is stopped; 0: 4096
	Success   string        // the program that it runs; "": /bin/true

	runner runner
}

// maxCheckpassword is what such a program reads, in octets.
const maxCheckpassword = 512

const badPassword = 1

// Check verifies a password: nil, ErrInvalid or ErrUnavailable. A refusal takes a
// whole number of quarter seconds, so that the time tells nobody which accounts
// exist.
func (c *Checkpassword) Check(ctx context.Context, user, password string) error {
	return evenly(ctx, func() error { return c.check(ctx, user, password) })
}

func (c *Checkpassword) check(ctx context.Context, user, password string) error {
	if len(c.Program) == 0 {
		return fmt.Errorf("%w: no checkpassword program is named", ErrUnavailable)
	}
	if user == "" || user == "root" || strings.ContainsFunc(user, control) {
		return fmt.Errorf("%w: %w", ErrInvalid, errUnknown)
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	if err := checkPassword(password, maxCheckpassword-len(user)-len(stamp)-3); err != nil {
		return err
	}
	r, err := c.runner.run(ctx, job{
		argv:    append(c.Program[:len(c.Program):len(c.Program)], cmp.Or(c.Success, "/bin/true")),
		third:   user + "\x00" + password + "\x00" + stamp + "\x00",
		timeout: cmp.Or(c.Timeout, DefaultTimeout),
		output:  c.MaxOutput,
	})
	switch {
	case err != nil:
		return err
	case r.code == 0:
		return nil
	case r.code == badPassword:
		return fmt.Errorf("%w: %s says no%s", ErrInvalid, c.Program[0], r.said(password))
	}
	return fmt.Errorf("%w: %s: exit status %d%s", ErrUnavailable, c.Program[0], r.code, r.said(password))
}

// CheckProgram says why a program cannot be run as a Checkpassword.
func CheckProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is no program (mode %04o)", path, info.Mode().Perm())
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("everybody on this machine can change %s (mode %04o)", path, info.Mode().Perm())
	}
	return nil
}
