package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/control"
)

// call has a verb done: by the running server or, without one, by this process on the files.
func call[In, Out any](ctx context.Context, a *app, v admin.Verb[In, Out], in In) (Out, error) {
	return callTelling(ctx, a, v, in, a.tell)
}

// tell prints what a verb tells before its output.
func (a *app) tell(p admin.Part) {
	if p.Note != "" {
		a.note("%s", p.Note)
	}
}

// callTelling is call for a verb that tells more than notes.
func callTelling[In, Out any](
	ctx context.Context, a *app, v admin.Verb[In, Out], in In, tell func(admin.Part),
) (out Out, err error) {
	client, done, cfg, err := a.client(tell)
	if err != nil {
		return out, err
	}
	defer done()
	err = control.OrOffline(ctx,
		func() (err error) {
			out, err = control.Call(ctx, client, v, in)
			return err
		},
		func() error {
			if cfg != nil && !a.mayWorkOn(cfg) {
				return admin.Hint(fmt.Errorf("the server does not answer on %s", client.Socket),
					"run it with sudo, or start the server, which operators need")
			}
			s, err := a.open(cfg)
			if err != nil {
				return err
			}
			s.WorkOffline()
			out, err = v.Do(ctx, s.For(a.caller(tell)), in)
			return errors.Join(err, s.Close())
		})
	return out, err
}

// callServer is call for the server only: control.ErrNoServer if none runs.
func callServer[In, Out any](
	ctx context.Context, a *app, v admin.Verb[In, Out], in In,
) (out Out, err error) {
	client, done, _, err := a.client(a.tell)
	if err != nil {
		return out, err
	}
	defer done()
	return control.Call(ctx, client, v, in)
}

// client reaches the server over the control socket in the data directory. A user who may not
// open that directory, or the configuration, takes the socket of operators; the server finds out
// whether the user is one. cfg is nil if it cannot be read.
func (a *app) client(
	tell func(admin.Part),
) (c control.Client, done func(), cfg *config.Config, err error) {
	origin := control.Origin{Who: a.actor.Who, From: a.actor.From}
	c = control.Client{Socket: config.DefaultOperatorsSocket, Origin: origin, Tell: tell}
	done = func() {}
	cfg, err = a.load()
	if errors.Is(err, fs.ErrPermission) {
		return c, done, nil, nil
	} else if data, ok := a.dataDespite(err); ok {
		// The running server has loaded a file without mistakes. Without a server, the mistakes count.
		if socket, done, pathErr := control.Path(data); pathErr == nil {
			return control.Client{Socket: socket, Origin: origin, Tell: tell}, done, nil, nil
		}
		return c, done, nil, err
	} else if err != nil {
		return c, done, nil, err
	}
	if c.Socket = cfg.Operators.Socket; !a.mayWorkOn(cfg) {
		return c, done, cfg, nil
	}
	c.Socket, done, err = control.Path(cfg.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return c, func() {}, cfg, nil // opening it offline says what is wrong
	}
	return c, done, cfg, err
}

// dataDespite returns the data directory that a configuration with mistakes names.
func (a *app) dataDespite(err error) (string, bool) {
	if _, mistakes := errors.AsType[config.Errors](err); !mistakes {
		return "", false
	}
	return config.DataOf(a.config, os.Environ())
}

// mayWorkOn reports whether this process may open the data directory, as far as its mode says.
func (a *app) mayWorkOn(cfg *config.Config) bool {
	const readWriteEnter = 4 | 2 | 1
	return !errors.Is(syscall.Access(cfg.Data, readWriteEnter), fs.ErrPermission)
}

// caller is the user of this process, for verbs that are done here.
func (a *app) caller(tell func(admin.Part)) admin.Caller {
	return admin.Caller{Actor: a.actor, Tell: tell}
}

// open opens the data directory; without a configuration it says why there is none.
func (a *app) open(cfg *config.Config) (*admin.Service, error) {
	if cfg == nil {
		var err error
		if cfg, err = a.load(); err != nil {
			return nil, err
		}
	}
	return admin.Open(cfg, nil)
}

// confirmed does a verb that may ask first: do calls it with sure, which is true once the person
// has confirmed.
func (a *app) confirmed(yes bool, do func(sure bool) error) error {
	err := do(yes)
	if !errors.Is(err, admin.ErrConfirm) {
		return err
	}
	if err := a.confirm(false, err.Error()); err != nil {
		return err
	}
	return do(true)
}

// command is a command that calls verbs.
func command(
	use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) error,
) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args, RunE: run,
		DisableFlagsInUseLine: true, // use names the flags
	}
}

// does is a command for a verb that changes something. input makes its input of the arguments.
func does[In any](
	a *app, use, short string, args cobra.PositionalArgs,
	v admin.Verb[In, admin.Change], input func([]string) In,
) *cobra.Command {
	return command(use, short, args, func(cmd *cobra.Command, args []string) error {
		return a.report(call(cmd.Context(), a, v, input(args)))
	})
}

// doesOne is does for a verb that changes the one thing that it names.
func doesOne(a *app, use, short string, v admin.Verb[string, admin.Change]) *cobra.Command {
	return does(a, use, short, takes(1, 1), v, first)
}

// answers is a command for a verb that answers: as JSON with --json, else through print.
func answers[In, Out any](
	a *app, use, short string, args cobra.PositionalArgs,
	v admin.Verb[In, Out], input func([]string) In, print func(*app, Out),
) *cobra.Command {
	var asJSON bool
	cmd := command(use+" [--json]", short, args, func(cmd *cobra.Command, args []string) error {
		return respond(a, asJSON, print)(call(cmd.Context(), a, v, input(args)))
	})
	addJSON(cmd, &asJSON)
	return cmd
}

// Inputs of verbs, made of a command's arguments.

// first is for one argument, which may be left out.
func first(args []string) string { return strings.Join(args, "") }

// nothing is for no argument.
func nothing([]string) struct{} { return struct{}{} }

// setting is for a name and a value, which may be left out.
func setting(args []string) admin.Setting {
	return admin.Setting{Name: args[0], Value: first(args[1:])}
}

// members is for a name and what belongs to it.
func members(args []string) admin.Members { return admin.Members{Name: args[0], Members: args[1:]} }

// lacksValue refuses flags that were given as "".
func lacksValue(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return misuse(cmd, fmt.Sprintf("--%s lacks its value", name))
		}
	}
	return nil
}
