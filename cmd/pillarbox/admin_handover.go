package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore/durable"
)

// An operator who may not open the data directory has his commands done by the
// server: prepare notices it, handOver sends them, and operate does them there,
// with this same tree of commands.

// handedOver says that the server has done the command.
type handedOver struct{ exit int }

func (h handedOver) Error() string { return fmt.Sprintf("done by the server, exit code %d", h.exit) }

// prepare is done before every command, when its arguments have been understood.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	a.actor.Act = actName(cmd)
	cmd.SetContext(daemon.WithActor(cmd.Context(), a.actor))
	if f := cmd.Flags().Lookup("json"); f != nil && f.Value.String() == "true" {
		a.stdout = asItIs(a.stdout)
	}
	if !isAdmin(cmd) {
		if a.operator != nil {
			return a.refuseCommand(cmd, "only the commands of 'pillarbox admin' are done by the server")
		}
		return nil
	}
	if cmd.HasSubCommands() || needOf(cmd) == needsNothing || travels(cmd) && a.operator == nil {
		return nil // a family says which members it has
	}
	if a.operator != nil {
		return a.permit(cmd)
	}
	socket, handOver := a.mustHandOver()
	if !handOver {
		return nil
	}
	return a.handOver(cmd.Context(), socket)
}

// travels reports whether a command calls verbs.
func travels(cmd *cobra.Command) bool {
	return slices.ContainsFunc(admin.Verbs(), func(v admin.Command) bool { return v.Name() == actName(cmd) })
}

// actName is what the audit log calls a command: "mailbox passwd".
func actName(cmd *cobra.Command) string { return strings.TrimPrefix(callName(cmd), "admin ") }

func isAdmin(cmd *cobra.Command) bool { return strings.HasPrefix(callName(cmd)+" ", "admin ") }

// mustHandOver reports whether this process may not open the data directory, and
// where the server can be asked instead.
func (a *app) mustHandOver() (socket string, yes bool) {
	cfg, err := a.load()
	if errors.Is(err, fs.ErrPermission) {
		return config.DefaultOperatorsSocket, true
	} else if err != nil {
		return "", false
	}
	const readWriteEnter = 4 | 2 | 1
	err = syscall.Access(cfg.Data, readWriteEnter)
	return cfg.Operators.Socket + ".old", errors.Is(err, fs.ErrPermission)
}

// handOver has the command done by the server. Where none can be reached it is
// tried here, which says what is wrong.
func (a *app) handOver(ctx context.Context, socket string) error {
	h := daemon.Handed{Args: withoutConfig(a.args), Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr}
	if ask, ok := a.asker(); ok {
		h.Ask = ask
	}
	exit, err := daemon.HandOver(ctx, socket, h)
	switch {
	case errors.Is(err, daemon.ErrNotRunning), errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", socket, err)
	}
	return handedOver{exit}
}

// withoutConfig leaves --config out: the server has its own.
func withoutConfig(args []string) []string {
	var rest []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return append(rest, args[i:]...)
		case args[i] == "--config":
			i++
		case strings.HasPrefix(args[i], "--config="):
		default:
			rest = append(rest, args[i])
		}
	}
	return rest
}

// operate is daemon.Command: it does a command for an operator, in the server.
func (a *app) operate(ctx context.Context, call daemon.Call) (exit int) {
	in := &app{
		stdin: call.Stdin, stdout: call.Stdout, stderr: call.Stderr, config: a.config,
		args: call.Args, actor: call.Actor, operator: &call.Operator, ask: call.Ask,
	}
	defer func() {
		if problem := recover(); problem != nil { // a mistake in a verb must not stop the mail
			in.complain(fmt.Errorf("this is a mistake of the program: %v", problem))
			exit = 1
		}
	}()
	err := in.execute(ctx)
	if errors.Is(err, admin.ErrNotPermitted) {
		call.Refused(in.actor.Act, err)
	}
	return in.exitCode(err)
}

// permit looks whether an operator may have a command done at all. What it is done
// to, package admin looks at.
func (a *app) permit(cmd *cobra.Command) error {
	for _, name := range []string{"output", "file"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed && f.Value.String() != "-" {
			return a.refuseCommand(cmd, "the server writes no files for operators: let it write to standard output")
		}
	}
	if travels(cmd) {
		return a.refuseCommand(cmd, "it is done over the control protocol")
	}
	view := new(admin.Service).As(*a.operator)
	switch needOf(cmd) {
	case needsNothing, needsRight:
		return nil
	case needsToSeeAll:
		return view.RequireAll(false)
	case needsToChangeAll:
		return view.RequireAll(true)
	case needsFiles:
		return a.refuseCommand(cmd, "it works on files of this machine, and those of an operator are not the server's")
	}
	return a.refuseCommand(cmd, "it is none of the commands that are done for operators")
}

func (a *app) refuseCommand(cmd *cobra.Command, why string) error {
	return admin.Hint(fmt.Errorf("%w: %s: %s", admin.ErrNotPermitted, callName(cmd), why),
		"root, or the user that the server runs as, can do it")
}

// recordAct writes into the audit log what a command has done that works on no
// office.
func (a *app) recordAct(object string, after any) {
	failed := func(err error) { a.note("%v", err) }
	cfg, err := a.load()
	var root *durable.Root
	if err == nil {
		root, err = durable.Open(cfg.Data)
	}
	if err != nil {
		failed(fmt.Errorf("not recorded in the audit log: %w", err))
		return
	}
	defer root.Close()
	admin.NewRecorder(root, a.actor, failed).Record(object, nil, after)
}
