package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

func (a *app) aliasCommand() *cobra.Command {
	return family("alias", "Other names for addresses",
		a.changes("add ALIAS TARGET", "Make another name for an address", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.AddAlias(args[0], args[1]) }),
		a.changesOne("remove ALIAS", "Delete an alias; what it leads to stays", (*admin.Service).RemoveAlias),
		shows(a, "list [DOMAIN]", "List the aliases, of one domain or of all", takes(0, 1),
			inDomain((*admin.Service).ListAliases),
			table("aliases", "ALIAS\tTARGET", func(one admin.Alias) string { return fmt.Sprintf("%s\t%s", one.Alias, one.Target) })),
	)
}

func (a *app) groupCommand() *cobra.Command {
	return family("group", "Names that reach several addresses, each once",
		a.changes("add GROUP [MEMBER...]", "Make a group", takes(1, -1),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.AddGroup(args[0], args[1:]...) }),
		a.changesOne("remove GROUP", "Delete a group; its members stay", (*admin.Service).RemoveGroup),
		shows(a, "list [DOMAIN]", "List the groups, of one domain or of all", takes(0, 1),
			inDomain((*admin.Service).ListGroups),
			table("groups", "GROUP\tMEMBERS", func(g admin.Group) string { return fmt.Sprintf("%s\t%s", g.Group, addressList(g.Members)) })),
		shows(a, "show GROUP", "Show a group", takes(1, 1), ofOne((*admin.Service).ShowGroup), (*app).printGroup),
		a.memberCommand(),
		a.changes("accept GROUP anyone | inside | members", "Say who may write to a group", takes(2, 2),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.SetGroupAccept(args[0], args[1]) }),
		a.setsRight("outside GROUP", "Say whether members may send to other servers, unless they have a setting of their own", (*admin.Service).SetGroupOutside),
		a.setsRight("inbound GROUP", "Say whether a group, and its members alike, take mail from outside", (*admin.Service).SetGroupInbound),
	)
}

func (a *app) memberCommand() *cobra.Command {
	return family("member", "Who is in a group: mailboxes, aliases, groups, addresses elsewhere",
		a.changes("add GROUP MEMBER...", "Put addresses into a group", takes(2, -1),
			func(o *admin.Service, args []string) (admin.Change, error) { return o.AddMembers(args[0], args[1:]...) }),
		a.changes("remove GROUP MEMBER...", "Take addresses out of a group", takes(2, -1),
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
