package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/auth"
)

func (a *app) bansCommand() *cobra.Command {
	cmd := family("bans", "Addresses that the running server shuts out for guessing passwords",
		answers(a, "list", "List the addresses that are banned", takes(0, 0), admin.BansList, nothing,
			table("bans", "ADDRESS\tSINCE\tUNTIL\tWRONG LOG-INS\tACCOUNTS", banRow)),
		answers(a, "why ADDRESS", "Show the wrong log-ins that came from an address", takes(1, 1), admin.BansWhy, first, (*app).printBan),
		doesOne(a, "lift ADDRESS", "Let an address connect again, and forget its wrong log-ins", admin.BansLift),
	)
	cmd.Long = `Addresses that the running server shuts out for guessing passwords.

An address (the /64 of an IPv6 address) from which bans.after different wrong
log-ins came within a quarter of an hour is turned away by every service for
bans.duration. The same wrong password for the same account counts once. Who is
in bans.trusted or auth.plaintext_networks waits longer and longer, but is never
banned. Bans are kept in memory: a restart of the server lifts them all.`
	return cmd
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
		lines = append(lines, "Wrong log-ins:\t"+countOf(r.Distinct, r.Limit))
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
