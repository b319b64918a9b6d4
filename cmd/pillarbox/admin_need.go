package main

import "github.com/spf13/cobra"

// need is what a command of "pillarbox admin" asks of an operator for whom the
// server does it.
type need int

const (
	needsUnknown     need = iota // is done for nobody: it is not in the list below
	needsNothing                 // is done by anybody, on the spot
	needsRight                   // to what it names: package admin looks
	needsToSeeAll                // to see what is no domain's
	needsToChangeAll             // to change that
	needsFiles                   // files of the user: is done for nobody
)

// needOf is what a command asks of an operator.
func needOf(cmd *cobra.Command) need {
	switch actName(cmd) {
	case "quota template":
		return needsNothing

	case "domain list", "domain show", "domain catch-all",
		"mailbox add", "mailbox remove", "mailbox list", "mailbox show", "mailbox passwd", "mailbox lock", "mailbox unlock",
		"mailbox rename", "mailbox stat", "mailbox forward", "mailbox quota", "mailbox secrets", "mailbox migrate-auth",
		"quota set", "quota show", "quota list", "retention show", "retention set", "retention run",
		"alias add", "alias remove", "alias list",
		"group add", "group remove", "group list", "group show", "group accept", "group member add", "group member remove",
		"sendas grant", "sendas revoke", "sendas list",
		"dkim create", "dkim show", "dkim rotate", "dkim remove",
		"tls client-certs", "tls client-revoke",
		"check", "audit":
		return needsRight

	case "device list", "device show", "device test", "device suggest", "explain",
		"bans list", "bans why", "queue list", "queue show", "queue active",
		"queue quarantine list", "queue quarantine show", "badmail list", "badmail show", "route list", "route test", "fetch list",
		"tls show", "tls clients", "tls acme status", "tls export-ca", "quota recalculate", "operator list", "operator show",
		"directory list", "directory test":
		return needsToSeeAll

	case "domain add", "domain remove", "domain lock", "domain unlock", "domain method",
		"mailbox outside", "mailbox inbound", "mailbox release", "group outside", "group inbound",
		"device add", "device remove", "bans lift",
		"queue retry", "queue flush", "queue hold", "queue release", "queue bounce", "queue remove",
		"queue quarantine retry", "queue quarantine remove", "badmail send", "badmail remove",
		"fetch now", "reload", "tls renew", "tls acme renew", "operator add", "operator remove":
		return needsToChangeAll

	case "mailbox export", "mailbox import", "policy diff", "tls client-cert":
		return needsFiles
	}
	return needsUnknown
}
