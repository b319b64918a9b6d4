package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/policy"
)

// explainFlags are the flags of "admin explain" as typed.
type explainFlags struct {
	admin.Question
	ip, listener string
	size         string
	plaintext    bool
	json         bool
}

func (a *app) explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --ip ADDRESS --to ADDRESS | --trace CODE",
		Short: "Show the server's replies to a sender, and the reasons",
		Example: "  pillarbox admin explain --ip 192.168.1.20 --to x@remote.example\n" +
			"  pillarbox admin explain --ip 192.168.1.9 --auth anna --from boss --to carl\n" +
			"  pillarbox admin explain --trace QQYVUJ      a refusal, by the code at its end",
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.explain(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.ip, "ip", "", "the client's `address`")
	flags.StringVar(&f.User, "auth", "", "the `user` who has logged in (default: none)")
	flags.StringVar(&f.From, "from", "", "MAIL FROM, an `address` or <> (default: the user, the address of a device, or a remote one)")
	flags.StringVar(&f.To, "to", "", "RCPT TO, an `address`")
	flags.StringVar(&f.HeaderFrom, "header-from", "", "the From field of the header, an `address` (default: as --from)")
	flags.StringVar(&f.size, "size", "", "the `size` that MAIL declares, such as 10MB (default: none)")
	flags.StringVar(&f.listener, "listener", "smtp", "smtp, submission or smtps")
	flags.BoolVar(&f.TLS, "tls", false, "the connection is encrypted (implied by --auth)")
	flags.BoolVar(&f.plaintext, "plaintext", false, "with --auth: the connection is not encrypted")
	flags.StringVar(&f.Trace, "trace", "", "the trace `code` at the end of a refusal, instead of the other flags")
	flags.BoolVar(&f.json, "json", false, "write JSON")
	return cmd
}

func (a *app) explain(cmd *cobra.Command, f explainFlags) (err error) {
	q := f.Question
	if f.Trace != "" {
		return respond(a, f.json, (*app).printExplanation)(call(cmd.Context(), a, admin.Explain, q))
	}
	if f.ip == "" || f.To == "" {
		return misuse(cmd, "--ip and --to are needed")
	}
	if q.IP, err = admin.ParseClient(f.ip); err != nil {
		return usageError{err}
	}
	if q.Service, err = admin.ParseService(f.listener); err != nil {
		return usageError{err}
	}
	if f.size != "" {
		if q.Size, err = quota.ParseSize(f.size); err != nil {
			return usageError{err}
		}
	}
	q.TLS = q.TLS || q.User != "" && !f.plaintext
	return respond(a, f.json, (*app).printExplanation)(call(cmd.Context(), a, admin.Explain, q))
}

func (a *app) printExplanation(e admin.Explanation) {
	if !e.Assumed.IsZero() {
		a.note("the sender is assumed to be <%s>; --from names another", e.Assumed)
	}
	if r := e.Recorded; r != nil {
		a.align([]string{
			"Refused:\t" + r.Time.Local().Format(time.DateTime) + ", at " + r.Stage,
			"Client:\t" + clientText(r.Facts),
			"From, to:\t<" + r.Facts.From.String() + "> to <" + r.Facts.To.String() + ">",
			"Reply:\t" + r.Reply,
		})
		fmt.Fprintln(a.stdout, "\nThe rules in force now:")
	}
	for _, d := range e.Decisions {
		fmt.Fprintf(a.stdout, "%-8s %s\n", d.Stage, d.Verdict)
		for _, s := range d.Steps {
			fmt.Fprintf(a.stdout, "         %s\n", s)
		}
	}
	last := e.Decisions[len(e.Decisions)-1]
	switch {
	case last.Verdict == policy.Accept && e.Recorded != nil && e.Recorded.Cause == decisionlog.CauseQuota:
		fmt.Fprintln(a.stdout, "\nThe rules accept it. The mailbox had no room: 'pillarbox admin quota show' shows its limit.")
		return
	case last.Verdict == policy.Accept && e.Recorded != nil && e.Recorded.Cause == decisionlog.CauseMailbox:
		fmt.Fprintln(a.stdout, "\nThe rules of the server accept it. A rule of the mailbox refused it: 'pillarbox admin mailbox rules show' shows them.")
		return
	case last.Verdict == policy.Accept && e.Recorded != nil:
		fmt.Fprintln(a.stdout, "\nThe rules accept it now.")
		return
	case last.Verdict == policy.Accept:
		fmt.Fprintln(a.stdout, "\nThe mail is accepted.")
		if e.Facts.LeavesServer() || e.Facts.Shared {
			fmt.Fprintf(a.stdout, "'pillarbox admin route test %s' shows the way it would go.\n", e.Facts.To)
		}
		return
	}
	fmt.Fprintf(a.stdout, "\nReply:        %s [trace]\n", last.Reply.Error())
	if last.Remedy != "" {
		fmt.Fprintf(a.stdout, "To allow it:  %s\n", last.Remedy)
	}
}

// clientText is a client's address and, if it has logged in, its user.
func clientText(f policy.Facts) string {
	text := f.Remote.String()
	if !f.User.IsZero() {
		text += " (" + f.User.Address.String() + ")"
	}
	return text
}

func (a *app) refusalsCommand() *cobra.Command {
	return answers(a, "refusals", "List the latest refusals, and what would allow each", takes(0, 0), admin.RefusalList, nothing,
		table("refusals", "TIME\tCODE\tCLIENT\tFROM\tTO\tREPLY\tTO ALLOW IT", refusalRow))
}

func refusalRow(r admin.Refusal) string {
	remedy := r.Now.Remedy
	if r.Now.Verdict == policy.Accept {
		remedy = "the rules accept it now"
	}
	return strings.Join([]string{localTime(r.Time), r.Trace, clientText(r.Facts), "<" + r.Facts.From.String() + ">",
		"<" + r.Facts.To.String() + ">", r.Reply, cmp.Or(remedy, "-")}, "\t")
}
