package admin

import "pillarbox/smtp/queue"

// The verbs: name, permission, function. The name is what the command line says after
// 'pillarbox admin', and what the audit log says. A verb that is new here must be in Verbs too.
var (
	MailboxAdd  = verb("mailbox add", ChangesDomain, (*Service).addMailbox)
	MailboxList = verb("mailbox list", SeesDomain, (*Service).ListMailboxes)

	QueueList    = verb("queue list", SeesAll, (*Service).ListQueue)
	QueueShow    = verb("queue show", SeesAll, (*Service).showQueued)
	QueueActive  = verb("queue active", SeesAll, without((*Service).queueActive))
	QueueRetry   = verb("queue retry", ChangesAll, queueVerb(queue.Retry, ""))
	QueueFlush   = verb("queue flush", ChangesAll, queueVerb(queue.Flush, ""))
	QueueHold    = verb("queue hold", ChangesAll, queueVerb(queue.Hold, ""))
	QueueRelease = verb("queue release", ChangesAll, queueVerb(queue.Release, ""))
	QueueBounce  = verb("queue bounce", ChangesAll, queueVerb(queue.Bounce, "Give %s back to the senders?"))
	QueueRemove  = verb("queue remove", ChangesAll, queueVerb(queue.Remove, "Remove %s from the queue, without a word to anybody?"))

	QuarantineList   = verb("queue quarantine list", SeesAll, without((*Service).ListQuarantine))
	QuarantineShow   = verb("queue quarantine show", SeesAll, (*Service).showQuarantined)
	QuarantineRetry  = verb("queue quarantine retry", ChangesAll, (*Service).retryQuarantined)
	QuarantineRemove = verb("queue quarantine remove", ChangesAll, (*Service).removeQuarantined)

	BadmailList   = verb("badmail list", SeesAll, (*Service).listBadmail)
	BadmailShow   = verb("badmail show", SeesAll, (*Service).ShowBadmail)
	BadmailSend   = verb("badmail send", ChangesAll, (*Service).sendBadmail)
	BadmailRemove = verb("badmail remove", ChangesAll, (*Service).removeBadmail)

	RouteList = verb("route list", SeesAll, without((*Service).ListRoutes))
	RouteTest = longVerb("route test", SeesAll, (*Service).testRoute)

	DKIMCreate = verb("dkim create", ChangesDomain, (*Service).createDKIM)
	DKIMShow   = verb("dkim show", SeesDomain, (*Service).showDKIM)
	DKIMRotate = verb("dkim rotate", ChangesDomain, (*Service).rotateDKIM)
	DKIMRemove = verb("dkim remove", ChangesDomain, (*Service).removeDKIM)

	DeviceAdd     = verb("device add", ChangesAll, (*Service).AddDevice)
	DeviceRemove  = verb("device remove", ChangesAll, (*Service).RemoveDevice)
	DeviceList    = verb("device list", SeesAll, without((*Service).ListDevices))
	DeviceShow    = verb("device show", SeesAll, (*Service).ShowDevice)
	DeviceTest    = longVerb("device test", SeesAll, (*Service).testDevice)
	DeviceSuggest = verb("device suggest", SeesAll, (*Service).suggestDevices)

	DirectoryList = verb("directory list", SeesAll, without((*Service).ListDirectories))
	DirectoryTest = verb("directory test", SeesAll, (*Service).testDirectory)

	BansList = verb("bans list", SeesAll, without((*Service).listBans))
	BansWhy  = verb("bans why", SeesAll, (*Service).whyBanned)
	BansLift = verb("bans lift", ChangesAll, (*Service).liftBan)

	TLSShow         = verb("tls show", SeesAll, without((*Service).showCertificates))
	TLSRenew        = verb("tls renew", ChangesAll, without((*Service).renewCertificate)).recorded(renewed)
	TLSExportCA     = verb("tls export-ca", SeesAll, (*Service).exportCA)
	TLSClients      = verb("tls clients", SeesAll, (*Service).tlsClients)
	TLSClientCert   = verb("tls client-cert", RootOnly, (*Service).issueClientCert)
	TLSClientCerts  = verb("tls client-certs", SeesDomain, (*Service).ClientCerts)
	TLSClientRevoke = verb("tls client-revoke", ChangesDomain, (*Service).revokeClientCert)
	ACMEStatus      = verb("tls acme status", SeesAll, without((*Service).acmeStatus))
	ACMERenew       = longVerb("tls acme renew", ChangesAll, (*Service).acmeRenew).recorded(acmeRenewed)

	ServerReload = verb("reload", ChangesAll, (*Service).Reload).recorded(reloaded)
	EmptyLog     = verb("checkpoint", RootOnly, (*Service).emptyLog) // for "mailbox import"
)

// Verbs returns all verbs, for a server that must find them by name.
func Verbs() []Command {
	return []Command{
		MailboxAdd, MailboxList,
		QueueList, QueueShow, QueueActive, QueueRetry, QueueFlush, QueueHold, QueueRelease, QueueBounce, QueueRemove,
		QuarantineList, QuarantineShow, QuarantineRetry, QuarantineRemove,
		BadmailList, BadmailShow, BadmailSend, BadmailRemove,
		RouteList, RouteTest,
		DKIMCreate, DKIMShow, DKIMRotate, DKIMRemove,
		DeviceAdd, DeviceRemove, DeviceList, DeviceShow, DeviceTest, DeviceSuggest,
		DirectoryList, DirectoryTest,
		BansList, BansWhy, BansLift,
		TLSShow, TLSRenew, TLSExportCA, TLSClients, TLSClientCert, TLSClientCerts, TLSClientRevoke, ACMEStatus, ACMERenew,
		ServerReload, EmptyLog,
	}
}

// without makes a verb's function of a method with no input.
func without[Out any](do func(*Service) (Out, error)) func(*Service, struct{}) (Out, error) {
	return func(s *Service, _ struct{}) (Out, error) { return do(s) }
}
