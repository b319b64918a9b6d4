package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
)

const formatHelp = `

The formats:

  eml      a directory with a file for each message; the file has the same name as in
           the mailbox, which contains the unique-id (UIDL)
  mbox     one file, quoted as in mboxrd, with CRLF; the "From " line contains the
           unique-id
  maildir  a directory with cur, new and tmp`

func (a *app) exportCommand() *cobra.Command {
	cmd := a.transferVerb("export USER@DOMAIN TARGET [--format eml|mbox|maildir] [--json]", "Copy the mail of a mailbox into files",
		(*admin.Service).ExportMail, "exported %s to %s")
	cmd.Long = `Copy the mail of a mailbox into files, byte for byte as POP3 sends it. The mailbox
does not change. The server may run meanwhile.

Without --format, a TARGET that ends in .mbox is an mbox, and any other TARGET is a
directory of .eml files. No file is overwritten. After an interruption, the same command
continues where it stopped. With an mbox it starts again: the file appears only when it is
complete.` + formatHelp
	return cmd
}

func (a *app) importCommand() *cobra.Command {
	var beyond bool
	cmd := a.transferVerb("import USER@DOMAIN SOURCE [--format eml|mbox|maildir] [--beyond-quota] [--json]", "Copy messages from files into a mailbox",
		func(o *admin.Service, ctx context.Context, user, source string, opts admin.TransferOptions) (admin.Transfer, error) {
			opts.BeyondQuota = beyond
			done, err := o.ImportMail(ctx, user, source, opts)
			if done.Messages > 0 {
				a.tellServer(ctx, o)
			}
			return done, err
		}, "imported %s from %[2]s")
	cmd.Flags().BoolVar(&beyond, "beyond-quota", false, "import even beyond the limits of the mailbox")
	cmd.Long = `Copy messages from files into a mailbox. The server may run meanwhile. SOURCE is a
directory of .eml files (an export, or a mailbox P3_user.mbx of an old server), an mbox
file, or a Maildir without its folders.

A message that has a unique-id (UIDL) from Pillarbox keeps it, so that mail programs do
not fetch it again. The other messages are imported in the order of their arrival. Messages
that the mailbox already has are not copied again, so you may repeat the command.

Each single CR or LF becomes CRLF, and a missing end of the last line is added.` + formatHelp
	return cmd
}

// tellServer makes the running server count what has come in beside it.
func (a *app) tellServer(ctx context.Context, o *admin.Service) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	if _, err := daemon.AskRecount(ctx, o.Config().Data); err != nil && !errors.Is(err, daemon.ErrNotRunning) {
		a.note("the running server may not have counted the new messages yet: %v; 'pillarbox admin quota recalculate' makes it count them", err)
	}
}

// transferVerb is a verb that copies mail. done says what it did, with the number
// of messages and the place.
func (a *app) transferVerb(use, short string,
	transfer func(*admin.Service, context.Context, string, string, admin.TransferOptions) (admin.Transfer, error), done string) *cobra.Command {
	var format string
	var asJSON bool
	cmd := a.verb(use, short, takes(2, 2), func(cmd *cobra.Command, o *admin.Service, args []string) error {
		opts := admin.TransferOptions{}
		var err error
		if opts.Format, err = admin.ParseMailFormat(format); err != nil {
			return usageError{err}
		}
		line := a.newProgress(asJSON)
		opts.Progress = line.show
		if !asJSON {
			opts.Failed = func(f admin.TransferFailure) {
				line.clear()
				fmt.Fprintf(a.stderr, "%s: %s\n", f.File, f.Error)
			}
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		t, err := transfer(o, ctx, args[0], args[1], opts)
		line.clear()
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
	fmt.Fprintln(a.stdout)
	if n := t.Ignored - t.Special; n > 0 {
		a.note("not imported, because the name does not end in .eml: %s", files(n))
	}
	if t.Special > 0 {
		a.note("not imported, because it is not a regular file but a link or a pipe: %s", files(t.Special))
	}
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

// progress is a line that tells a person how far it has come.
type progress struct {
	app   *app
	on    bool
	shown time.Time
}

// newProgress makes one that is silent unless somebody looks.
func (a *app) newProgress(silent bool) *progress {
	f, ok := asItIs(a.stderr).(*os.File)
	return &progress{app: a, on: !silent && ok && term.IsTerminal(int(f.Fd())), shown: time.Now()}
}

// show is called as often as there is something new.
func (p *progress) show(done, all int) {
	if now := time.Now(); p.on && now.Sub(p.shown) >= 200*time.Millisecond {
		fmt.Fprintf(asItIs(p.app.stderr), "\r\x1b[K%d of %d", done, all)
		p.shown = now
	}
}

// clear makes room for something else.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(asItIs(p.app.stderr), "\r\x1b[K")
	}
}
