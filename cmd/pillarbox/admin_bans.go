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
	cmd := family("bans", "Manage addresses that the running server bans for guessing passwords",
		answers(a, "list", "List the banned addresses", takes(0, 0), admin.BansList, nothing,
			table("bans", "ADDRESS\tSINCE\tUNTIL\tWRONG LOG-INS\tACCOUNTS", banRow)),
		answers(a, "why ADDRESS", "Show the failed logins from an address", takes(1, 1), admin.BansWhy, first, (*app).printBan),
		doesOne(a, "lift ADDRESS", "Remove a ban and the record of failed logins of an address", admin.BansLift),
	)
	cmd.Long = `Manage addresses that the running server bans for guessing passwords.

The server bans an address (for IPv6, its /64 network) after bans.after different
failed logins within 15 minutes. Every service then refuses it for bans.duration.
The same wrong password for the same account counts once. Addresses in bans.trusted
or auth.plaintext_networks are delayed more and more, but never banned. Bans are kept
in memory: a restart of the server removes them all.`
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
