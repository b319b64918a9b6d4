package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) aliasCommand() *cobra.Command {
	return family("alias", "Other names for addresses",
		does(a, "add ALIAS TARGET", "Make another name for an address", takes(2, 2), admin.AliasAdd, setting),
		doesOne(a, "remove ALIAS", "Delete an alias; what it leads to stays", admin.AliasRemove),
		answers(a, "list [DOMAIN]", "List the aliases, of one domain or of all", takes(0, 1), admin.AliasList, first,
			table("aliases", "ALIAS\tTARGET", func(one admin.Alias) string { return fmt.Sprintf("%s\t%s", one.Alias, one.Target) })),
	)
}

func (a *app) groupCommand() *cobra.Command {
	return family("group", "Names that reach several addresses, each once",
		does(a, "add GROUP [MEMBER...]", "Make a group", takes(1, -1), admin.GroupAdd, members),
		doesOne(a, "remove GROUP", "Delete a group; its members stay", admin.GroupRemove),
		answers(a, "list [DOMAIN]", "List the groups, of one domain or of all", takes(0, 1), admin.GroupList, first,
			table("groups", "GROUP\tMEMBERS", func(g admin.Group) string { return fmt.Sprintf("%s\t%s", g.Group, addressList(g.Members)) })),
		answers(a, "show GROUP", "Show a group", takes(1, 1), admin.GroupShow, first, (*app).printGroup),
		a.memberCommand(),
		does(a, "accept GROUP anyone | inside | members", "Say who may write to a group", takes(2, 2), admin.GroupAccept, setting),
		a.setsRight("outside GROUP", "Say whether members may send to other servers, unless they have a setting of their own", admin.GroupOutside),
		a.setsRight("inbound GROUP", "Say whether a group, and its members alike, take mail from outside", admin.GroupInbound),
	)
}

func (a *app) memberCommand() *cobra.Command {
	return family("member", "Who is in a group: mailboxes, aliases, groups, addresses elsewhere",
		does(a, "add GROUP MEMBER...", "Put addresses into a group", takes(2, -1), admin.GroupMemberAdd, members),
		does(a, "remove GROUP MEMBER...", "Take addresses out of a group", takes(2, -1), admin.GroupMemberRemove, members),
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
