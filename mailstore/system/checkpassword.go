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

// Checkpassword checks passwords with a program that speaks the checkpassword protocol
// (cr.yp.to/checkpwd/interface.html). The program reads name, password and a time stamp from
// descriptor 3. If the password is right, it runs the program at the end of its arguments, here
// /bin/true. Exit status 1 means a wrong password; any other status means a failure of the program.
//
// The program decides which accounts exist. The password of root is never checked.
type Checkpassword struct {
	Program   []string      // absolute path and arguments, without Success
	Timeout   time.Duration // 0: DefaultTimeout
	MaxOutput int           // octets of output after which it is stopped; 0: 4096
	Success   string        // the program that it runs; "": /bin/true

	runner runner
}

// maxCheckpassword is how much such a program reads, in octets.
const maxCheckpassword = 512

const badPassword = 1

// Check verifies a password; the error is nil, ErrInvalid or ErrUnavailable. A refusal takes a
// multiple of 250 ms, so that its duration does not reveal which accounts exist.
func (c *Checkpassword) Check(ctx context.Context, user, password string) error {
	return padRefusal(ctx, func() error { return c.check(ctx, user, password) })
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
		return fmt.Errorf("%w: %s refused it%s", ErrInvalid, c.Program[0], r.quoted(password))
	}
	return fmt.Errorf("%w: %s: exit status %d%s",
		ErrUnavailable, c.Program[0], r.code, r.quoted(password))
}

// CheckProgram returns why a program cannot be used as a Checkpassword.
func CheckProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable (mode %04o)", path, info.Mode().Perm())
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("every user of this machine can change %s (mode %04o)", path, info.Mode().Perm())
	}
	return nil
}
