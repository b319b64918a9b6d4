package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
	"pillarbox/smtp/remote"
)

func (a *app) routeCommand() *cobra.Command {
	list := answers(a, "list", "List the configured routes", takes(0, 0), admin.RouteList, nothing,
		table("routes", "DOMAINS\tWAY\tTLS\tLOG-IN\tRETRIES\tGIVEN UP\tHOURS\tKEPT\tCOST\tLIMITS", routeRow))
	return family("route", "Show and test the routes to other servers", list, a.routeTestCommand())
}

func routeRow(r admin.RouteSummary) string {
	domains, kept, user := strings.Join(r.Domains, ", "), "no", "-"
	if domains == "" {
		domains = "all others"
	}
	if r.Hold {
		kept = "for ETRN"
	}
	if r.User != "" {
		user = r.User
		if len(r.Mechanisms) > 0 {
			user += " by " + strings.Join(r.Mechanisms, ", ")
		}
	}
	return strings.Join([]string{domains, wayText(r.SmartHost, r.DirectFirst, r.LMTP), r.TLS.String(), user,
		strings.Join(r.Retries, " "), "after " + r.Expire, r.Hours, kept,
		strconv.Itoa(r.Cost), routeLimits(r)}, "\t")
}

// routeLimits says who may send by a route, and how much.
func routeLimits(r admin.RouteSummary) string {
	var all []string
	if r.Unresolved {
		all = append(all, "unresolved recipients")
	}
	if len(r.AcceptFrom) > 0 {
		all = append(all, "only "+strings.Join(r.AcceptFrom, ", "))
	}
	if len(r.RejectFrom) > 0 {
		all = append(all, "not "+strings.Join(r.RejectFrom, ", "))
	}
	if r.MaxSize > 0 {
		all = append(all, "at most "+quota.FormatSize(r.MaxSize))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, "; ")
}

func (a *app) routeTestCommand() *cobra.Command {
	var from string
	var asJSON bool
	cmd := command("test USER@DOMAIN [--from A] [--json]", "Test the delivery to an address step by step, without sending mail", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			if err := lacksValue(cmd, "from"); err != nil {
				return err
			}
			return a.testRoute(cmd.Context(), admin.RouteQuestion{To: args[0], From: from}, asJSON)
		})
	cmd.Flags().StringVar(&from, "from", "", "the sender, an `address` or <> (default: postmaster of the default domain)")
	addJSON(cmd, &asJSON)
	cmd.Long = `Test the delivery to an address step by step, without sending mail.

The running server does the test, exactly as it would send mail now. If no server runs,
this command does it with the configuration. The test finds the route and the servers,
connects, starts TLS, logs in, sends MAIL FROM and RCPT TO, and then disconnects. The
exit status is 1 if the server would not accept mail.`
	return cmd
}

// testRoute prints each step when it comes.
func (a *app) testRoute(ctx context.Context, q admin.RouteQuestion, asJSON bool) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	hinted := "" // the last hint: three servers of a domain often have the same trouble
	t, err := callTelling(ctx, a, admin.RouteTest, q, func(p admin.Part) {
		a.tell(p)
		if p.Step == nil || asJSON {
			return
		}
		s := *p.Step
		if s.Hint == hinted {
			s.Hint = ""
		} else if s.Hint != "" {
			hinted = s.Hint
		}
		a.printStep(s)
	})
	if ctx.Err() != nil {
		return errors.New("interrupted before the test came to its end")
	} else if err != nil {
		return err
	}
	switch {
	case asJSON:
		err = a.writeJSON(t)
	case t.OK:
		_, err = fmt.Fprintf(a.stdout, "\n%s\n", t.Verdict)
	default:
		_, err = fmt.Fprintln(a.stdout)
	}
	return errors.Join(err, t.Err(hinted))
}

func (a *app) printStep(s remote.Step) {
	mark := "ok"
	if !s.OK {
		mark = "FAILED"
	}
	fmt.Fprintf(a.stdout, "%-7s %-9s %s\n", mark, s.Name, s.Text)
	if s.Hint != "" {
		fmt.Fprintf(a.stdout, "%-17s hint: %s\n", "", s.Hint)
	}
}
