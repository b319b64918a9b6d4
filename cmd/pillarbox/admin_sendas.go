package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) sendAsCommand() *cobra.Command {
	return family("sendas", "Manage the right to send as another address",
		does(a, "grant USER@DOMAIN ADDRESS", "Allow a mailbox to send as another address", takes(2, 2), admin.SendAsGrant, setting),
		does(a, "revoke USER@DOMAIN ADDRESS", "Remove the right to send as another address", takes(2, 2), admin.SendAsRevoke, setting),
		answers(a, "list [USER@DOMAIN]", "List the other addresses that a mailbox, or every mailbox, may send as", takes(0, 1), admin.SendAsList, first,
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
