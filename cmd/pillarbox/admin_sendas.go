package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) sendAsCommand() *cobra.Command {
	return family("sendas", "Manage the right to send as another address",
		a.changes("grant USER@DOMAIN ADDRESS", "Allow a mailbox to send as another address", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.GrantSendAs(args[0], args[1]) }),
		a.changes("revoke USER@DOMAIN ADDRESS", "Remove the right to send as another address", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.RevokeSendAs(args[0], args[1]) }),
		shows(a, "list [USER@DOMAIN]", "List the other addresses that a mailbox, or every mailbox, may send as", takes(0, 1),
			func(o *admin.Service, args []string) ([]admin.SendAs, error) {
				return o.ListSendAs(strings.Join(args, ""))
			},
			table("addresses to send as", "MAILBOX\tMAY SEND AS\tBY", sendAsRow)),
	)
}

func sendAsRow(s admin.SendAs) string {
	by := "grant"
	if s.Alias {
		by = "alias"
	}
	return fmt.Sprintf("%s\t%s\t%s", s.Mailbox, s.As, by)
}
