// Pillarbox is a mail server in one binary: SMTP in, POP3 out, for an office.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// version is set by the linker (see Makefile).
var version = "devel"

func main() {
	os.Exit(run(calledAs(os.Args), os.Stdin, forPeople(os.Stdout), forPeople(os.Stderr)))
}

// app is one invocation of the command: its streams, and the flag that every
// command has.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	config string // --config
	// usualConfig is the configuration file without --config.
	usualConfig string

	actor admin.Actor // the user of this process, for the audit log
}

// run executes a command line and returns the exit code: 0 for success, 1 for a failure, 2 for
// wrong usage. An exitError brings its own.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, actor: localActor(os.Environ())}
	return a.exitCode(a.execute(context.Background(), args))
}

func (a *app) execute(ctx context.Context, args []string) error {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	return root.ExecuteContext(ctx)
}

// exitCode prints the error, if any, and returns the exit code.
func (a *app) exitCode(err error) int {
	if err == nil {
		return 0
	}
	a.complain(err)
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	if errors.Is(err, admin.ErrUsage) {
		return 2
	}
	return 1
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "pillarbox",
		Short:         "A mail server for an office: SMTP in, POP3 out, one binary",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	path := os.Getenv("PILLARBOX_CONFIG")
	if path == "" {
		path = config.DefaultPath
	}
	a.usualConfig = path
	root.PersistentFlags().StringVar(&a.config, "config", path, "the configuration `file`")
	root.PersistentPreRun = a.prepare
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see '%s --help')", flagError(err), c.CommandPath())}
	})
	root.SuggestionsMinimumDistance = 2
	root.Args, root.RunE = cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return refuseStranger(cmd, args)
	}
	root.AddCommand(
		a.setupCommand(), a.serveCommand(), a.doctorCommand(), a.selftestCommand(), a.settingsCommand(),
		a.configCommand(),
		a.adminCommand(), a.winpopCommand(), a.sendmailCommand(), a.manCommand(),
	)
	a.completeNames(root, nameSources())
	return strict(root)
}

// flagError says what a flag wants, in place of the words of the number's parser.
func flagError(err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	flag := invalid.GetFlag()
	wanted := map[string]string{
		"int": "a whole number", "uint64": "a whole number", "duration": "a time such as 5s or 2m",
		"bool": "true or false",
	}[flag.Value.Type()]
	switch {
	case wanted == "":
		return err
	case errors.Is(err, strconv.ErrRange):
		wanted = "in the range of numbers"
	}
	return fmt.Errorf("--%s %q is not %s", flag.Name, invalid.GetValue(), wanted)
}

// usageError reports wrong usage.
type usageError struct{ error }

func (e usageError) Unwrap() error        { return e.error }
func (e usageError) Is(target error) bool { return target == admin.ErrUsage }

// complain prints an error and, on the next line, its hint.
func (a *app) complain(err error) {
	fmt.Fprintf(a.stderr, "pillarbox: %v\n", err)
	var hinted *admin.HintError
	if errors.As(err, &hinted) {
		fmt.Fprintf(a.stderr, "  hint: %s\n", a.typed(hinted.Hint))
	}
}

// load reads the configuration.
func (a *app) load() (*config.Config, error) {
	cfg, err := config.Load(a.config, os.Environ(), config.On(config.ThisMachine()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, admin.Hint(err, "--config FILE names another place")
	}
	return cfg, err
}

// prepare runs before every command. It lets JSON reach a terminal unchanged.
func (a *app) prepare(cmd *cobra.Command, _ []string) {
	if f := cmd.Flags().Lookup("json"); f != nil && f.Value.String() == "true" {
		a.stdout = asItIs(a.stdout)
	}
}
