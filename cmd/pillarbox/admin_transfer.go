package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/control"
	"pillarbox/quota"
)

const formatHelp = `

The formats:

  eml      a directory with a file for each message; the file has the same name as in
           the mailbox, which contains the unique-id (UIDL)
  mbox     one file, quoted as in mboxrd, with CRLF; the "From " line contains the
           unique-id
  maildir  a directory with cur, new and tmp`

func (a *app) exportCommand() *cobra.Command {
	cmd := a.transferCommand("export USER@DOMAIN TARGET [--format eml|mbox|maildir] [--json]", "Copy the mail of a mailbox into files",
		new(admin.TransferOrder), admin.MailboxExport, "exported %s to %s")
	cmd.Long = `Copy the mail of a mailbox into files, byte for byte as POP3 sends it. The mailbox
does not change. The server may run meanwhile.

Without --format, a TARGET that ends in .mbox is an mbox, and any other TARGET is a
directory of .eml files. No file is overwritten. After an interruption, the same command
continues where it stopped. With an mbox it starts again: the file appears only when it is
complete.` + formatHelp
	return cmd
}

func (a *app) importCommand() *cobra.Command {
	var in admin.TransferOrder
	cmd := a.transferCommand("import USER@DOMAIN SOURCE [--format eml|mbox|maildir] [--recursive] [--deleted] [--beyond-quota] [--json]", "Copy messages from files into a mailbox",
		&in, admin.MailboxImport, "imported %s from %[2]s")
	cmd.Flags().BoolVar(&in.BeyondQuota, "beyond-quota", false, "import even beyond the limits of the mailbox")
	cmd.Flags().BoolVar(&in.Deleted, "deleted", false, "import messages that their mail program had deleted, too")
	cmd.Flags().BoolVar(&in.Recursive, "recursive", false, "import the folders below SOURCE too, into the same mailbox")
	cmd.Long = `Copy messages from files into a mailbox. The server may run meanwhile. SOURCE is a
directory of .eml files (an export, or a mailbox P3_user.mbx of an old server), an mbox
file, a Maildir, or a file with one message. Folders below it are named in the answer;
--recursive imports them too.

These are left out, and the answer counts them: deleted messages that the mail program has
not removed from its files yet (imported with --deleted), data of a folder in the form of a
message, and messages without any text.

A message that has a unique-id (UIDL) from Pillarbox keeps it, so that mail programs do
not fetch it again. The other messages are imported in the order of their arrival. Messages
that the mailbox already has are not copied again, so you may repeat the command.

Each single CR or LF becomes CRLF, and a missing end of the last line is added.` + formatHelp
	return cmd
}

// callOnFiles runs a verb in this process even if a server runs, because the verb uses files of the
// caller or files that only root may read. If the verb needs it, a running server empties its log
// first, or counts the mailboxes again. A caller who may not open the data directory, such as an
// operator, calls the running server instead. That refuses verbs for root (admin.RootOnly).
func callOnFiles[In, Out any](ctx context.Context, a *app, v admin.Verb[In, Out], in In, tell func(admin.Part)) (out Out, err error) {
	cfg, err := a.load()
	if errors.Is(err, fs.ErrPermission) || err == nil && !a.mayWorkOn(cfg) {
		return callTelling(ctx, a, v, in, tell)
	} else if err != nil {
		return out, err
	}
	s, err := admin.Open(cfg, nil)
	if err != nil {
		return out, err
	}
	s.WorkOffline()
	offline := s.Checkpoint
	s.Checkpoint = func() error {
		return control.OrOffline(ctx, func() error {
			_, err := callServer(ctx, a, admin.EmptyLog, struct{}{})
			return err
		}, offline)
	}
	s.CountAgain = func() ([]quota.Recount, error) {
		all, err := callServer(ctx, a, admin.CountAgain, struct{}{})
		if errors.Is(err, control.ErrNoServer) {
			err = admin.ErrNotRunning
		}
		return all, err
	}
	out, err = v.Do(ctx, s.For(a.caller(tell)), in)
	return out, errors.Join(err, s.Close())
}

// countAgain makes the running server recount the mailboxes, because this process has filled one.
func (a *app) countAgain(ctx context.Context) {
	_, err := callServer(context.WithoutCancel(ctx), a, admin.CountAgain, struct{}{})
	if err != nil && !errors.Is(err, control.ErrNoServer) {
		a.note("the running server may not have counted the new messages yet: %v; 'pillarbox admin quota recalculate' makes it count them", err)
	}
}

// transferCommand returns a command that copies mail. done is the format of its result, with the
// number of messages and the place.
func (a *app) transferCommand(use, short string, in *admin.TransferOrder, v admin.Verb[admin.TransferOrder, admin.Transfer], done string) *cobra.Command {
	var format string
	var asJSON bool
	cmd := command(use, short, takes(2, 2), func(cmd *cobra.Command, args []string) error {
		var err error
		if in.Format, err = admin.ParseMailFormat(format); err != nil {
			return usageError{err}
		}
		in.User, in.Place = args[0], args[1]
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		line := a.newProgress(asJSON)
		t, err := callOnFiles(ctx, a, v, *in, line.tell)
		line.clear()
		if v.Name() == admin.MailboxImport.Name() && t.Messages > 0 {
			a.countAgain(ctx)
		}
		if t.Format == "" {
			return err // it did not begin
		}
		if asJSON {
			return errors.Join(a.writeJSON(t), err)
		}
		a.printTransfer(t, done)
		return err
	})
	cmd.Flags().StringVar(&format, "format", "", "the `format`: eml, mbox or maildir")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printTransfer(t admin.Transfer, done string) {
	what := fmt.Sprintf("%s (%s) of %s", messages(t.Messages), about(t.Bytes), t.Mailbox)
	fmt.Fprintf(a.stdout, done, what, t.Place)
	if t.Already > 0 {
		fmt.Fprintf(a.stdout, "; %d there already", t.Already)
	}
	if n := len(t.Failed); n > 0 {
		fmt.Fprintf(a.stdout, "; %d failed", n)
	}
	fmt.Fprintln(a.stdout, passedOver(t.PassedOver))
	if t.PassedOver.Deleted > 0 {
		a.note("deleted messages were left out: --deleted imports them")
	}
	if len(t.PassedOver.Folders) > 0 {
		a.note("--recursive imports the folders below, too: %s", someNames(t.PassedOver.Folders))
	}
	if n := t.Ignored - t.Special; n > 0 {
		a.note("not imported, because the name does not end in .eml: %s", files(n))
	}
	if t.Special > 0 {
		a.note("not imported, because it is not a regular file but a link or a pipe: %s", files(t.Special))
	}
}

// passedOver counts the messages that an import left out.
func passedOver(p admin.PassedOver) string {
	var kinds []string
	for _, kind := range []struct {
		n    int
		name string
	}{{p.Deleted, "deleted"}, {p.Internal, "data of a folder"}, {p.Empty, "empty"}} {
		if kind.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", kind.n, kind.name))
		}
	}
	if len(kinds) == 0 {
		return ""
	}
	return "; left out: " + strings.Join(kinds, ", ")
}

// someNames lists the first names of many.
func someNames(all []string) string {
	const most = 10
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// progress is a line that tells a person how far a verb has come.
type progress struct {
	app    *app
	silent bool
	on     bool // standard error is a terminal

	began, told time.Time // of a backup
}

// newProgress makes one. With JSON it tells notes only.
func (a *app) newProgress(silent bool) *progress {
	f, ok := asItIs(a.stderr).(*os.File)
	return &progress{app: a, silent: silent, on: !silent && ok && term.IsTerminal(int(f.Fd()))}
}

// tell prints what a verb tells before its output.
func (p *progress) tell(part admin.Part) {
	switch {
	case part.Copied != nil:
		p.copied(*part.Copied)
	case part.All > 0:
		if p.on {
			fmt.Fprintf(asItIs(p.app.stderr), "\r\x1b[K%d of %d", part.Done, part.All)
		}
	case part.Failed != nil:
		if !p.silent {
			p.clear()
			fmt.Fprintf(p.app.stderr, "%s: %s\n", part.Failed.File, part.Failed.Error)
		}
	default:
		p.clear()
		p.app.tell(part)
	}
}

// clear makes room for something else.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(asItIs(p.app.stderr), "\r\x1b[K")
	}
}
