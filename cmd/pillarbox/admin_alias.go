package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) aliasCommand() *cobra.Command {
	return family("alias", "Manage aliases: other names for addresses",
		a.changes("add ALIAS TARGET", "Add another name for an address", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.AddAlias(args[0], args[1]) }),
		a.changesOne("remove ALIAS", "Remove an alias; its target stays", (*admin.Service).RemoveAlias),
		shows(a, "list [DOMAIN]", "List the aliases of one domain or of all", takes(0, 1),
			inDomain((*admin.Service).ListAliases),
			table("aliases", "ALIAS\tTARGET", func(one admin.Alias) string { return fmt.Sprintf("%s\t%s", one.Alias, one.Target) })),
	)
}

func (a *app) groupCommand() *cobra.Command {
	return family("group", "Manage groups: names for several addresses",
		a.changes("add GROUP [MEMBER...]", "Add a group", takes(1, -1),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.AddGroup(args[0], args[1:]...) }),
		a.changesOne("remove GROUP", "Remove a group; its members stay", (*admin.Service).RemoveGroup),
		shows(a, "list [DOMAIN]", "List the groups of one domain or of all", takes(0, 1),
			inDomain((*admin.Service).ListGroups),
			table("groups", "GROUP\tMEMBERS", func(g admin.Group) string { return fmt.Sprintf("%s\t%s", g.Group, addressList(g.Members)) })),
		shows(a, "show GROUP", "Show a group", takes(1, 1), ofOne((*admin.Service).ShowGroup), (*app).printGroup),
		a.memberCommand(),
		a.changes("accept GROUP anyone | inside | members", "Set the permitted senders of a group", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.SetGroupAccept(args[0], args[1]) }),
		a.setsRight("outside GROUP", "Allow or deny its members to send to other servers; a member's own setting overrides this", (*admin.Service).SetGroupOutside),
		a.setsRight("inbound GROUP", "Allow or deny a group and its members to get mail from other servers", (*admin.Service).SetGroupInbound),
	)
}

func (a *app) memberCommand() *cobra.Command {
	return family("member", "Manage members of a group: mailboxes, aliases, groups, remote addresses",
		a.changes("add GROUP MEMBER...", "Add addresses to a group", takes(2, -1),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.AddMembers(args[0], args[1:]...) }),
		a.changes("remove GROUP MEMBER...", "Remove addresses from a group", takes(2, -1),
			func(o *admin.Service, args []string) (admin.Change, error) {
				return o.RemoveMembers(args[0], args[1:]...)
			}),
	)
}

func (a *app) printGroup(g admin.GroupDetails) {
	a.align([]string{
		"Group:\t" + g.Group.String(),
		"Members:\t" + addressList(g.Members),
		"Reaches:\t" + addressList(g.Reaches),
		"Accepts mail from:\t" + g.Accept,
		"May send outside:\t" + string(g.Outside),
		"Gets from outside:\t" + string(g.Inbound),
	})
}
