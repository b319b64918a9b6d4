package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) operatorCommand() *cobra.Command {
	cmd := family("operator", "Manage operators: users other than root who may administer",
		a.operatorAddCommand(),
		doesOne(a, "remove NAME", "Remove an operator", admin.OperatorRemove),
		answers(a, "list", "List the operators", takes(0, 0), admin.OperatorList, nothing,
			table("operators", "OPERATOR\tDOMAINS\tREAD-ONLY", operatorRow)),
		answers(a, "show NAME", "Show an operator", takes(1, 1), admin.OperatorShow, first, (*app).printOperator),
	)
	cmd.Long = `Manage operators. Root and the user that the server runs as may always administer.

An operator is a local mailbox (anna@office.example), the current members of a local
group, a user of this machine (unix:carol), or a group of its users (unix:@mailadmins).
Mailboxes and groups are for the web page. A user of this machine types the same
"pillarbox admin ..." commands as root. If the user may not open the data directory,
the running server executes the command, over the socket operators.socket.

An operator of all domains may use all of "pillarbox admin" except the commands that
work with files (export, import, policy diff, tls client-cert).

An operator of some domains may read and change the mailboxes, aliases and groups in
them, their DKIM keys, the quotas of mailboxes, and retention. Such an operator may not

  - add, remove or lock domains, or set their quotas;
  - set rights (outside, inbound, release);
  - change a mailbox or group that is an operator of more domains;
  - add members to a group that grants or denies rights;
  - direct mail to an address that accepts mail only from some senders;
  - direct mail to other servers, unless everyone may send there ([outside] send);
  - let a mailbox send as an address outside these domains.

With --read-only, an operator may not change anything. 'pillarbox admin audit' shows
everything that operators did.`
	return cmd
}

func (a *app) operatorAddCommand() *cobra.Command {
	var n admin.NewOperator
	cmd := command("add NAME [--domain DOMAIN]... [--read-only]", "Add an operator of all domains or of some", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			n.Name = args[0]
			return a.report(call(cmd.Context(), a, admin.OperatorAdd, n))
		})
	cmd.Flags().StringArrayVar(&n.Domains, "domain", nil, "only this `domain`; may be repeated")
	cmd.Flags().BoolVar(&n.ReadOnly, "read-only", false, "allow to read, but not to change")
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
