package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) aliasCommand() *cobra.Command {
	return family("alias", "Manage aliases: other names for addresses",
		does(a, "add ALIAS TARGET", "Add another name for an address", takes(2, 2), admin.AliasAdd, setting),
		doesOne(a, "remove ALIAS", "Remove an alias; its target stays", admin.AliasRemove),
		answers(a, "list [DOMAIN]", "List the aliases of one domain or of all", takes(0, 1), admin.AliasList, first,
			table("aliases", "ALIAS\tTARGET", func(one admin.Alias) string { return fmt.Sprintf("%s\t%s", one.Alias, one.Target) })),
	)
}

func (a *app) groupCommand() *cobra.Command {
	return family("group", "Manage groups: names for several addresses",
		does(a, "add GROUP [MEMBER...]", "Add a group", takes(1, -1), admin.GroupAdd, members),
		doesOne(a, "remove GROUP", "Remove a group; its members stay", admin.GroupRemove),
		answers(a, "list [DOMAIN]", "List the groups of one domain or of all", takes(0, 1), admin.GroupList, first,
			table("groups", "GROUP\tMEMBERS", func(g admin.Group) string { return fmt.Sprintf("%s\t%s", g.Group, addressList(g.Members)) })),
		answers(a, "show GROUP", "Show a group", takes(1, 1), admin.GroupShow, first, (*app).printGroup),
		a.memberCommand(),
		does(a, "accept GROUP anyone | inside | members | nobody | default", "Set the permitted senders of a group", takes(2, 2), admin.GroupAccept, setting),
		a.setsRight("outside GROUP", "Allow or deny its members to send to other servers; a member's own setting overrides this", admin.GroupOutside),
		a.setsRight("inbound GROUP", "Allow or deny a group and its members to get mail from other servers", admin.GroupInbound),
	)
}

func (a *app) memberCommand() *cobra.Command {
	return family("member", "Manage members of a group: mailboxes, aliases, groups, remote addresses",
		does(a, "add GROUP MEMBER...", "Add addresses to a group", takes(2, -1), admin.GroupMemberAdd, members),
		does(a, "remove GROUP MEMBER...", "Remove addresses from a group", takes(2, -1), admin.GroupMemberRemove, members),
	)
}

func (a *app) printGroup(g admin.GroupDetails) {
	accept := g.Accept
	if g.DefaultAccept {
		accept += " (the default)"
	}
	a.align([]string{
		"Group:\t" + g.Group.String(),
		"Members:\t" + addressList(g.Members),
		"Reaches:\t" + addressList(g.Reaches),
		"Accepts mail from:\t" + accept,
		"May send outside:\t" + string(g.Outside),
		"Gets from outside:\t" + string(g.Inbound),
	})
}
