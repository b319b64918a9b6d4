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
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/auth"
)

// passwordWay is the source of a password. If no flag is set, the command asks for it. A password
// is never an argument, because every user of the machine can read the command line.
type passwordWay struct {
	stdin    bool // --password-stdin
	generate bool // --generate
	none     bool // --no-password

	rules string                      // for the person who is asked
	try   func(password string) error // checks a typed password before it is typed again
}

func (s *passwordWay) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.stdin, "password-stdin", false, "read the password from standard input, one line")
	cmd.Flags().BoolVar(&s.generate, "generate", false, "generate a password and show it once")
}

// check returns an error if more than one flag is set.
func (s *passwordWay) check(cmd *cobra.Command) error {
	if s.stdin && s.generate || s.stdin && s.none || s.generate && s.none {
		return misuse(cmd, "give only one of the flags for the password")
	}
	return nil
}

// withPassword gets a password for a mailbox and calls do with it. It prints a generated password
// afterwards.
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
		return auth.GeneratePassword(), nil
	case from.stdin:
		password, err = a.readLine()
	default:
		password, err = a.askPassword(user, from)
	}
	if err == nil {
		err = admin.Hint(auth.CheckPassword(password), "--generate makes a strong one")
	}
	return password, err
}

// readLine reads one line of standard input, without the line end.
func (a *app) readLine() (string, error) {
	line, err := a.readAnswer()
	if err == io.EOF {
		err = nil
	}
	return line, err
}

// readAnswer is readLine for a person: the error is io.EOF if the input has ended (Ctrl-D).
func (a *app) readAnswer() (string, error) {
	const most = 64 << 10 // much longer than any password
	line, err := bufio.NewReader(io.LimitReader(a.stdin, most)).ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// terminal returns the file descriptor of standard input if it is a terminal.
func (a *app) terminal() (fd int, ok bool) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// asker returns a function that asks the user a question at the terminal. With secret, the answer
// is not shown while it is typed. ok is false if there is no terminal.
func (a *app) asker() (ask func(prompt string, secret bool) (string, error), ok bool) {
	fd, ok := a.terminal()
	return func(prompt string, secret bool) (string, error) {
		if secret {
			return a.readSecret(fd, prompt)
		}
		fmt.Fprint(a.stderr, prompt)
		answer, err := a.readAnswer()
		if err == io.EOF {
			fmt.Fprintln(a.stderr)
			err = errors.New("the input has ended; nothing was changed")
		}
		return answer, err
	}, ok
}

// askPassword says the rules and asks for a password twice, because the user cannot see it.
func (a *app) askPassword(user string, from passwordWay) (string, error) {
	ask, ok := a.asker()
	if !ok {
		return "", admin.Hint(errors.New("cannot ask for the password: standard input is not a terminal"),
			"--password-stdin reads it from standard input, --generate makes one")
	}
	if from.rules != "" {
		fmt.Fprintln(a.stderr, from.rules)
	}
	password, err := ask(fmt.Sprintf("Password for %s: ", user), true)
	if err != nil {
		return "", err
	}
	if err = admin.Hint(auth.CheckPassword(password), "--generate makes a strong one"); err == nil {
		err = from.try(password)
	}
	if err != nil {
		return "", err
	}
	again, err := ask("The same again: ", true)
	if err == nil && password != again {
		err = errors.New("the two passwords are not the same; nothing was changed")
	}
	return password, err
}

// errNoPassword is the end of input at a prompt: Ctrl-D.
var errNoPassword = errors.New("no password was given; nothing was changed")

// readSecret reads a line without echo. It restores the echo even if the user presses Ctrl-C.
// Ctrl-D ends the command.
func (a *app) readSecret(fd int, prompt string) (string, error) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	restore := func() { unix.IoctlSetTermios(fd, unix.TCSETS, before) }
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	defer close(interrupt)
	defer signal.Stop(interrupt)
	go func() {
		if _, ok := <-interrupt; ok {
			restore()
			fmt.Fprintln(a.stderr)
			os.Exit(130)
		}
	}()
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return "", err
	}
	defer restore()
	fmt.Fprint(a.stderr, prompt)
	secret, err := readTypedLine(fd)
	fmt.Fprintln(a.stderr)
	return secret, err
}

// readTypedLine reads a line from a terminal, octet by octet, so that the next question finds what
// follows. term.ReadPassword would not see Ctrl-D.
func readTypedLine(fd int) (string, error) {
	var line []byte
	for {
		var octet [1]byte
		n, err := unix.Read(fd, octet[:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", err
		case n == 0:
			return "", errNoPassword
		case octet[0] == '\n':
			return string(line), nil
		default:
			line = append(line, octet[0])
		}
	}
}

func addYes(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask for confirmation")
}

// confirm asks the user before an action that cannot be undone.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	ask, ok := a.asker()
	if !ok {
		return admin.Hint(errors.New("this cannot be undone, and there is no terminal to ask for confirmation"), "use --yes to do it without asking")
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
