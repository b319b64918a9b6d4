package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) operatorCommand() *cobra.Command {
	cmd := family("operator", "Who may administer, beside root",
		a.operatorAddCommand(),
		doesOne(a, "remove NAME", "Let somebody administer no longer", admin.OperatorRemove),
		answers(a, "list", "List the operators", takes(0, 0), admin.OperatorList, nothing,
			table("operators", "OPERATOR\tDOMAINS\tREAD-ONLY", operatorRow)),
		answers(a, "show NAME", "Show all about an operator", takes(1, 1), admin.OperatorShow, first, (*app).printOperator),
	)
	cmd.Long = `Who may administer, beside root and the user that the server runs as.

An operator is a mailbox or a group here (anna@office.example), with the members
that it has at the time, a user of this machine (unix:carol) or a group of users
(unix:@mailadmins). The first two are for the web page. Users of the machine type
"pillarbox admin ..." as root does; where they may not open the data directory, the
running server does it for them, over the socket operators.socket.

An operator of all domains may do all that "pillarbox admin" does except to work on
files (export, import, policy diff, tls client-cert). One of some domains sees and
changes the mailboxes, aliases and groups in them, their DKIM keys, quotas of
mailboxes and retention; he does not make or remove domains, lock them or set their
quotas, or give rights (outside, inbound, release). He changes no mailbox or group
that is an operator of more than he is, puts nobody into a group that gives rights,
lets mail lead only to addresses that take it from everybody, and to other servers
if everybody may send there ([outside] send), and lets mailboxes send only as
addresses of his domains. "--read-only" only looks.

All that is done is in 'pillarbox admin audit'.`
	return cmd
}

func (a *app) operatorAddCommand() *cobra.Command {
	var n admin.NewOperator
	cmd := command("add NAME [--domain DOMAIN]... [--read-only]", "Let somebody administer: all domains, or some", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			n.Name = args[0]
			return a.report(call(cmd.Context(), a, admin.OperatorAdd, n))
		})
	cmd.Flags().StringArrayVar(&n.Domains, "domain", nil, "only this `domain`; may be given several times")
	cmd.Flags().BoolVar(&n.ReadOnly, "read-only", false, "look, and change nothing")
	return cmd
}

func operatorRow(g admin.Grant) string {
	return fmt.Sprintf("%s\t%s\t%s", g.Name, admin.Grant{All: g.All, Domains: g.Domains}.Scope(), yesNo(g.ReadOnly))
}

func (a *app) printOperator(d admin.OperatorDetails) {
	lines := []string{
		"Operator:\t" + d.Name,
		"Kind:\t" + d.Kind,
		"Domains:\t" + admin.Grant{All: d.All, Domains: d.Domains}.Scope(),
		"Read-only:\t" + yesNo(d.ReadOnly),
	}
	if d.Kind == "group" {
		lines = append(lines, "Members:\t"+addressList(d.Members))
	}
	a.align(lines)
}
