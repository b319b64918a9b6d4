package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/auth"
)

// passwordWay is where a command gets a password from; with nothing set, it
// is asked for. Never from the command line, where everybody on the machine can
// read it.
type passwordWay struct {
	stdin    bool // --password-stdin
	generate bool // --generate
	none     bool // --no-password
}

func (s *passwordWay) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.stdin, "password-stdin", false, "read the password from standard input, one line")
	cmd.Flags().BoolVar(&s.generate, "generate", false, "make a password and show it once")
}

// check wants at most one of them.
func (s *passwordWay) check(cmd *cobra.Command) error {
	if s.stdin && s.generate || s.stdin && s.none || s.generate && s.none {
		return misuse(cmd, "only one way to a password can be chosen")
	}
	return nil
}

// withPassword gets a password for a mailbox and does with it what is to be
// done. A password that was made here is shown afterwards, this once.
func (a *app) withPassword(from passwordWay, user string, do func(password string) (admin.Change, error)) error {
	password, err := a.password(from, user)
	if err != nil {
		return err
	}
	if err := a.report(do(password)); err != nil {
		return err
	}
	if from.generate {
		fmt.Fprintln(a.stdout, "password: "+password)
	}
	return nil
}

func (a *app) password(from passwordWay, user string) (password string, err error) {
	switch {
	case from.none:
		return "", nil
	case from.generate:
		return generatePassword(), nil
	case from.stdin:
		password, err = a.readLine()
	default:
		password, err = a.askPassword(user)
	}
	if err == nil {
		err = admin.Hint(auth.CheckPassword(password), "--generate makes a good one")
	}
	return password, err
}

// readLine reads one line of standard input, without its end.
func (a *app) readLine() (string, error) {
	const most = 64 << 10 // far more than any password
	line, err := bufio.NewReader(io.LimitReader(a.stdin, most)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// terminal is the file descriptor of standard input if a person sits at it.
func (a *app) terminal() (fd int, ok bool) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// asker asks the person who sits at the terminal, be it here or at the other end
// of the operators' socket; secret is what is not to be seen while it is typed.
func (a *app) asker() (ask func(prompt string, secret bool) (string, error), ok bool) {
	if a.ask != nil {
		return a.ask, true
	}
	fd, ok := a.terminal()
	return func(prompt string, secret bool) (string, error) {
		if secret {
			return a.readSecret(fd, prompt)
		}
		fmt.Fprint(a.stderr, prompt)
		return a.readLine()
	}, ok
}

// askPassword asks twice, since nobody sees what is typed.
func (a *app) askPassword(user string) (string, error) {
	ask, ok := a.asker()
	if !ok {
		return "", admin.Hint(errors.New("there is no terminal to ask for the password at"),
			"--password-stdin reads it from standard input, --generate makes one")
	}
	password, err := ask(fmt.Sprintf("Password for %s: ", user), true)
	if err != nil {
		return "", err
	}
	again, err := ask("The same again: ", true)
	if err == nil && password != again {
		err = errors.New("the two passwords are not the same; nothing was changed")
	}
	return password, err
}

// readSecret reads a line without echo. The terminal gets its echo back even
// when the person gives up with Ctrl-C.
func (a *app) readSecret(fd int, prompt string) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	defer close(interrupt)
	defer signal.Stop(interrupt)
	go func() {
		if _, ok := <-interrupt; ok {
			term.Restore(fd, before)
			fmt.Fprintln(a.stderr)
			os.Exit(130)
		}
	}()
	fmt.Fprint(a.stderr, prompt)
	secret, err := term.ReadPassword(fd)
	fmt.Fprintln(a.stderr)
	if errors.Is(err, io.EOF) {
		err = errors.New("no password was given; nothing was changed")
	}
	return string(secret), err
}

func addYes(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

// confirm asks before something is lost for good.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	ask, ok := a.asker()
	if !ok {
		return admin.Hint(errors.New("this cannot be undone, and there is no terminal to ask at"), "--yes does it without asking")
	}
	answer, err := ask(question+" [y/N] ", false)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was changed")
}
