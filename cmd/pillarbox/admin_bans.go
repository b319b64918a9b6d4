package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore/auth"
)

func (a *app) bansCommand() *cobra.Command {
	cmd := family("bans", "Manage addresses that the running server bans for guessing passwords",
		asksFor(a, "list", "List the banned addresses", takes(0, 0),
			func(ctx context.Context, data string, _ []string) ([]auth.Record, error) {
				return daemon.AskBans(ctx, data)
			},
			table("bans", "ADDRESS\tSINCE\tUNTIL\tWRONG LOG-INS\tACCOUNTS", banRow)),
		asksFor(a, "why ADDRESS", "Show the failed logins from an address", takes(1, 1), whyBanned, (*app).printBan),
		a.asks("lift ADDRESS", "Remove a ban and the record of failed logins of an address", takes(1, 1), a.liftBan),
	)
	cmd.Long = `Manage addresses that the running server bans for guessing passwords.

The server bans an address (for IPv6, its /64 network) after bans.after different
failed logins within 15 minutes. Every service then refuses it for bans.duration.
The same wrong password for the same account counts once. Addresses in bans.trusted
or auth.plaintext_networks are delayed more and more, but never banned. Bans are kept
in memory: a restart of the server removes them all.`
	return cmd
}

func whyBanned(ctx context.Context, data string, args []string) (auth.Record, error) {
	ip, err := parseClient(args[0])
	if err != nil {
		return auth.Record{}, err
	}
	return daemon.AskWhy(ctx, data, ip)
}

func (a *app) liftBan(ctx context.Context, data string, args []string) error {
	ip, err := parseClient(args[0])
	if err != nil {
		return err
	}
	lifted, err := daemon.AskLift(ctx, data, ip)
	if err == nil && !lifted {
		err = admin.Hint(fmt.Errorf("%s is not banned", args[0]), "'pillarbox admin bans list' shows who is")
	}
	if err == nil {
		fmt.Fprintf(a.stdout, "%s may connect again\n", args[0])
	}
	return err
}

// asks is a verb that needs the running server of the data directory.
func (a *app) asks(use, short string, args cobra.PositionalArgs, do func(ctx context.Context, data string, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use:                   use,
		Short:                 short,
		Args:                  args,
		DisableFlagsInUseLine: true, // they stand in use
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			err = do(ctx, cfg.Data, args)
			if errors.Is(err, daemon.ErrNotRunning) {
				return admin.Hint(err, "only a running server can answer; 'pillarbox serve' starts it")
			}
			return err
		},
	}
}

// asksFor is a verb that the running server answers: as JSON with --json, else
// through print.
func asksFor[T any](a *app, use, short string, args cobra.PositionalArgs, look func(context.Context, string, []string) (T, error), print func(*app, T)) *cobra.Command {
	var asJSON bool
	cmd := a.asks(use+" [--json]", short, args, func(ctx context.Context, data string, args []string) error {
		return respond(a, asJSON, print)(look(ctx, data, args))
	})
	addJSON(cmd, &asJSON)
	return cmd
}

// parseClient reads an address as a person types it or copies it from the list,
// where an IPv6 client is its /64.
func parseClient(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err == nil {
		return ip, nil
	}
	if network, err := netip.ParsePrefix(text); err == nil && (network.IsSingleIP() || network.Addr().Is6() && network.Bits() == 64) {
		return network.Addr(), nil
	}
	return ip, admin.Hint(usageError{fmt.Errorf("%q is not an IP address", text)}, "write it like 192.0.2.7 or 2001:db8::7")
}

func banRow(r auth.Record) string {
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%s", r.Address, localTime(r.Since), localTime(r.Until), r.Distinct, triedList(r.Accounts))
}

func triedList(tried []auth.Tried) string {
	const enough = 3
	var names []string
	for _, one := range tried[:min(len(tried), enough)] {
		names = append(names, one.Name)
	}
	if more := len(tried) - enough; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return wordList(names)
}

func (a *app) printBan(r auth.Record) {
	lines := []string{"Address:\t" + r.Address}
	if r.Banned() {
		lines = append(lines, "Banned:\tfrom "+localTime(r.Since)+" until "+localTime(r.Until))
	} else {
		lines = append(lines, "Banned:\tno")
	}
	if r.Trusted {
		lines = append(lines, "Trusted:\tyes, by bans.trusted or auth.plaintext_networks: delayed, never banned")
	} else {
		lines = append(lines, "Failed logins:\t"+countOf(r.Distinct, r.Limit))
	}
	a.align(lines)
	if len(r.Accounts) == 0 {
		return
	}
	lines = []string{"", "ACCOUNT\tWRONG PASSWORDS\tLAST"}
	for _, one := range r.Accounts {
		lines = append(lines, fmt.Sprintf("%s\t%d\t%s", one.Name, one.Passwords, localTime(one.Last)))
	}
	a.align(lines)
}

func countOf(distinct, limit int) string {
	if limit == 0 {
		return strconv.Itoa(distinct) + " (bans are off: bans.after = 0)"
	}
	return fmt.Sprintf("%d of %d that ban", distinct, limit)
}

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
