package admin

// The verbs: name, permission, function. The name is what the command line says after
// 'pillarbox admin', and what the audit log says. A verb that is new here must be in Verbs too.
var (
	MailboxAdd  = verb("mailbox add", ChangesDomain, (*Service).addMailbox)
	MailboxList = verb("mailbox list", SeesDomain, (*Service).ListMailboxes)

	QueueList = verb("queue list", SeesAll, (*Service).ListQueue)
	RouteTest = longVerb("route test", SeesAll, (*Service).testRoute)

	ServerReload = verb("reload", ChangesAll, (*Service).Reload).recorded(reloaded)
	EmptyLog     = verb("checkpoint", RootOnly, (*Service).emptyLog) // for "mailbox import"
)

// Verbs returns all verbs, for a server that must find them by name.
func Verbs() []Command {
	return []Command{
		MailboxAdd, MailboxList,
		QueueList, RouteTest,
		ServerReload, EmptyLog,
	}
}
