package admin

import "pillarbox/smtp/queue"

// The verbs: name, permission, function. The name is what the command line says after
// 'pillarbox admin', and what the audit log says. A verb that is new here must be in Verbs too.
var (
	DomainAdd      = verb("domain add", ChangesAll, (*Service).AddDomain)
	DomainRemove   = verb("domain remove", ChangesAll, (*Service).removeDomain)
	DomainList     = verb("domain list", SeesDomain, without((*Service).ListDomains))
	DomainShow     = verb("domain show", SeesDomain, (*Service).ShowDomain)
	DomainLock     = verb("domain lock", ChangesAll, (*Service).LockDomain)
	DomainUnlock   = verb("domain unlock", ChangesAll, (*Service).UnlockDomain)
	DomainCatchAll = verb("domain catch-all", ChangesDomain, pair((*Service).SetCatchAll))
	DomainMethod   = verb("domain method", ChangesAll, pair((*Service).SetDomainMethod))
	DomainFooter   = verb("domain footer", ChangesDomain, (*Service).SetFooter)
	DomainArchive  = verb("domain archive", ChangesDomain, pair((*Service).SetDomainArchive))

	MailboxAdd         = verb("mailbox add", ChangesDomain, (*Service).addMailbox)
	MailboxAddMany     = longVerb("mailbox add-many", ChangesDomain, (*Service).addMany)
	MailboxRemove      = verb("mailbox remove", ChangesDomain, (*Service).removeMailbox)
	MailboxList        = verb("mailbox list", SeesDomain, (*Service).ListMailboxes)
	MailboxFind        = verb("mailbox find", SeesDomain, (*Service).findMailboxes)
	MailboxShow        = verb("mailbox show", SeesDomain, (*Service).ShowMailbox)
	MailboxPasswd      = verb("mailbox passwd", ChangesDomain, (*Service).passwd)
	MailboxSecrets     = verb("mailbox secrets", ChangesDomain, several((*Service).SetSecrets))
	MailboxMigrateAuth = verb("mailbox migrate-auth", ChangesDomain, (*Service).migrateAuth)
	MailboxName        = verb("mailbox name", ChangesDomain, pair((*Service).SetMailboxName))
	MailboxAccess      = verb("mailbox access", ChangesDomain, pair((*Service).SetMailboxAccess))
	MailboxLock        = verb("mailbox lock", ChangesDomain, (*Service).LockMailbox)
	MailboxUnlock      = verb("mailbox unlock", ChangesDomain, (*Service).UnlockMailbox)
	MailboxRename      = verb("mailbox rename", ChangesDomain, pair((*Service).RenameMailbox))
	MailboxStatistics  = verb("mailbox stat", SeesDomain, (*Service).StatMailbox)
	MailboxForward     = verb("mailbox forward", ChangesDomain, (*Service).forward)
	MailboxQuota       = verb("mailbox quota", ChangesDomain, pair((*Service).SetQuota))
	MailboxOutside     = verb("mailbox outside", ChangesAll, pair((*Service).SetMailboxOutside))
	MailboxInbound     = verb("mailbox inbound", ChangesAll, pair((*Service).SetMailboxInbound))
	MailboxRelease     = verb("mailbox release", ChangesAll, (*Service).ReleaseMailbox)
	MailboxLogins      = longVerb("mailbox logins", SeesDomain, (*Service).recentLogins)
	MailboxExport      = longVerb("mailbox export", RootOnly, (*Service).exportMail)
	MailboxImport      = longVerb("mailbox import", RootOnly, (*Service).importMail)

	AppPasswordAdd    = verb("mailbox app-password add", ChangesDomain, (*Service).addAppPassword)
	AppPasswordList   = verb("mailbox app-password list", SeesDomain, (*Service).listAppPasswords)
	AppPasswordRemove = verb("mailbox app-password remove", ChangesDomain, pair((*Service).removeAppPassword))

	SecondFactorShow   = verb("mailbox second-factor show", SeesDomain, (*Service).showSecondFactor)
	SecondFactorRemove = verb("mailbox second-factor remove", ChangesDomain, pair((*Service).removeSecondFactor))
	// What the page asks for the user who is logged in.
	SecondFactorAdd  = verb("mailbox second-factor add", RootOnly, (*Service).addSecondFactor)
	RecoveryCodesNew = verb("mailbox second-factor codes", RootOnly, (*Service).newRecoveryCodes)

	MailboxResetLink = verb("mailbox reset-link", ChangesDomain, (*Service).makeResetLink)
	MailboxReset     = verb("mailbox reset", RootOnly, (*Service).useResetLink) // asked by the page

	MailboxArchive = verb("mailbox archive", ChangesDomain, pair((*Service).SetArchive))
	RulesShow      = verb("mailbox rules show", SeesDomain, (*Service).ShowRules)
	RulesAdd       = verb("mailbox rules add", ChangesDomain, (*Service).AddRule)
	RulesRemove    = verb("mailbox rules remove", ChangesDomain, (*Service).RemoveRule)
	RulesMove      = verb("mailbox rules move", ChangesDomain, (*Service).MoveRule)
	RulesTest      = verb("mailbox rules test", SeesDomain, (*Service).testRules)
	AbsenceShow    = verb("mailbox absence show", SeesDomain, (*Service).ShowAbsence)
	AbsenceSet     = verb("mailbox absence set", ChangesDomain, (*Service).SetAbsence)
	AbsenceOff     = verb("mailbox absence off", ChangesDomain, (*Service).AbsenceOff)

	QuotaSet         = verb("quota set", ChangesDomain, (*Service).setQuotas)
	QuotaShow        = verb("quota show", SeesDomain, (*Service).ShowQuota)
	QuotaList        = verb("quota list", SeesDomain, (*Service).listQuotas)
	QuotaRecalculate = verb("quota recalculate", SeesAll, (*Service).recalculate)

	RetentionShow = verb("retention show", SeesDomain, (*Service).showRetention)
	RetentionSet  = verb("retention set", ChangesDomain, (*Service).setRetention)
	RetentionRun  = longVerb("retention run", ChangesDomain, (*Service).runRetention)

	BackupCreate = longVerb("backup create", RootOnly, (*Service).createBackup)
	BackupRun    = longVerb("backup run", ChangesAll, (*Service).runBackup)
	BackupStart  = verb("backup start", ChangesAll, without((*Service).startBackup)) // asked by the page
	BackupList   = verb("backup list", SeesAll, (*Service).listBackups)
	BackupVerify = longVerb("backup verify", SeesAll, (*Service).verifyBackup)
	BackupPrune  = verb("backup prune", RootOnly, (*Service).pruneBackups)
	RestoreMail  = longVerb("restore", RootOnly, (*Service).restoreMail)
	RestoreToBox = longVerb("backup restore-mailbox", ChangesAll, (*Service).restoreMail) // asked by the page

	UndeleteList    = verb("undelete list", SeesDomain, (*Service).listDeleted)
	UndeleteShow    = verb("undelete show", ChangesDomain, (*Service).showDeleted)
	UndeleteRestore = verb("undelete restore", ChangesDomain, (*Service).restoreDeleted)
	UndeletePurge   = verb("undelete purge", ChangesDomain, (*Service).purgeDeleted)

	AliasAdd    = verb("alias add", ChangesDomain, pair((*Service).AddAlias))
	AliasRemove = verb("alias remove", ChangesDomain, (*Service).RemoveAlias)
	AliasList   = verb("alias list", SeesDomain, (*Service).ListAliases)

	GroupAdd          = verb("group add", ChangesDomain, several((*Service).AddGroup))
	GroupRemove       = verb("group remove", ChangesDomain, (*Service).RemoveGroup)
	GroupList         = verb("group list", SeesDomain, (*Service).ListGroups)
	GroupShow         = verb("group show", SeesDomain, (*Service).ShowGroup)
	GroupMemberAdd    = verb("group member add", ChangesDomain, several((*Service).AddMembers))
	GroupMemberRemove = verb("group member remove", ChangesDomain, several((*Service).RemoveMembers))
	GroupAccept       = verb("group accept", ChangesDomain, pair((*Service).SetGroupAccept))
	GroupOutside      = verb("group outside", ChangesAll, pair((*Service).SetGroupOutside))
	GroupInbound      = verb("group inbound", ChangesAll, pair((*Service).SetGroupInbound))

	SendAsGrant  = verb("sendas grant", ChangesDomain, pair((*Service).GrantSendAs))
	SendAsRevoke = verb("sendas revoke", ChangesDomain, pair((*Service).RevokeSendAs))
	SendAsList   = verb("sendas list", SeesDomain, (*Service).ListSendAs)

	OperatorAdd    = verb("operator add", ChangesAll, (*Service).AddOperator)
	OperatorRemove = verb("operator remove", ChangesAll, (*Service).RemoveOperator)
	OperatorList   = verb("operator list", SeesAll, without((*Service).ListOperators))
	OperatorShow   = verb("operator show", SeesAll, (*Service).ShowOperator)

	QueueList    = verb("queue list", SeesAll, (*Service).ListQueue)
	QueueShow    = verb("queue show", SeesAll, (*Service).showQueued)
	QueueActive  = verb("queue active", SeesAll, without((*Service).queueActive))
	QueueRetry   = verb("queue retry", ChangesAll, queueVerb(queue.Retry, ""))
	QueueFlush   = verb("queue flush", ChangesAll, queueVerb(queue.Flush, ""))
	QueueHold    = verb("queue hold", ChangesAll, queueVerb(queue.Hold, ""))
	QueueRelease = verb("queue release", ChangesAll, queueVerb(queue.Release, ""))
	QueueBounce  = verb("queue bounce", ChangesAll, queueVerb(queue.Bounce, "Return %s to the senders?"))
	QueueRemove  = verb("queue remove", ChangesAll, queueVerb(queue.Remove, "Remove %s from the queue without a report?"))

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
	DNSRecords = longVerb("dns", SeesDomain, (*Service).dnsRecords)

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
	TLSRenew        = verb("tls renew", ChangesAll, without((*Service).renewCertificate))
	TLSExportCA     = verb("tls export-ca", SeesDomain, (*Service).exportCA)
	TLSCSR          = verb("tls csr", ChangesAll, (*Service).makeCSR)
	TLSClients      = verb("tls clients", SeesAll, (*Service).tlsClients)
	TLSClientCert   = verb("tls client-cert", RootOnly, (*Service).issueClientCert)
	TLSClientCerts  = verb("tls client-certs", SeesDomain, (*Service).ClientCerts)
	TLSClientRevoke = verb("tls client-revoke", ChangesDomain, (*Service).revokeClientCert)
	ACMEStatus      = verb("tls acme status", SeesAll, without((*Service).acmeStatus))
	ACMERenew       = longVerb("tls acme renew", ChangesAll, (*Service).acmeRenew)

	FetchList = verb("fetch list", SeesAll, without((*Service).listFetch))
	FetchNow  = longVerb("fetch now", ChangesAll, (*Service).fetchNow)

	ServerStatus = verb("status", SeesAll, without((*Service).status))
	SessionList  = verb("sessions", SeesAll, without((*Service).listSessions))
	SessionKill  = longVerb("sessions kill", ChangesAll, (*Service).killSession)
	LiveTop      = verb("top", SeesAll, without((*Service).top))

	LogLevels   = verb("log level", SeesAll, without((*Service).listLogLevels))
	LogLevelSet = verb("log level set", ChangesAll, (*Service).setLogLevel)
	LogShow     = verb("log show", SeesAll, (*Service).showLog)

	Check          = longVerb("check", SeesDomain, (*Service).check)
	AuditShow      = verb("audit", SeesDomain, (*Service).showAudit)
	Trace          = verb("trace", SeesAll, (*Service).trace)
	MailStatistics = longVerb("stats", SeesDomain, (*Service).statistics)
	Explain        = longVerb("explain", SeesAll, (*Service).Explain)

	RefusalList = verb("refusals", SeesAll, without((*Service).listRefusals))
	PolicyList  = verb("policy list", SeesAll, (*Service).listPolicy)
	PolicyTry   = verb("policy try", SeesAll, (*Service).tryPolicy)
	PolicySet   = verb("policy set", ChangesAll, (*Service).setPolicy)
	PolicyReset = verb("policy reset", ChangesAll, (*Service).resetPolicy)
	PolicyUndo  = verb("policy undo", ChangesAll, without((*Service).undoPolicy))
	PolicyDiff  = verb("policy diff", RootOnly, (*Service).comparePolicy)

	SettingWrite   = verb("winpop set", RootOnly, (*Service).writeSetting)
	ServerReload   = verb("reload", ChangesAll, without((*Service).Reload))
	ClientSettings = verb("settings", SeesDomain, (*Service).ClientSettings)
	ClientSetup    = verb("client-setup", SeesDomain, (*Service).clientSetup)
	DomainTotals   = verb("winpop stat", SeesDomain, without((*Service).StatDomains))
	MailboxTotals  = verb("winpop stat domain", SeesDomain, (*Service).StatMailboxes)

	// What "mailbox import", which works on the files, asks of the running server.
	EmptyLog   = verb("checkpoint", RootOnly, without((*Service).emptyLog))
	CountAgain = verb("recount", RootOnly, without((*Service).recount))
)

// Verbs returns all verbs, for a server that must find them by name.
func Verbs() []Command {
	return []Command{
		DomainAdd, DomainRemove, DomainList, DomainShow, DomainLock, DomainUnlock, DomainCatchAll,
		DomainMethod,
		MailboxAdd, MailboxAddMany, MailboxRemove, MailboxList, MailboxFind, MailboxShow, MailboxPasswd, MailboxSecrets,
		MailboxMigrateAuth,
		MailboxName, MailboxAccess, MailboxLock, MailboxUnlock, MailboxRename, MailboxStatistics, MailboxForward, MailboxQuota,
		MailboxOutside, MailboxInbound, MailboxRelease, MailboxLogins, MailboxExport, MailboxImport,
		AppPasswordAdd, AppPasswordList, AppPasswordRemove,
		MailboxResetLink, MailboxReset,
		SecondFactorShow, SecondFactorRemove, SecondFactorAdd, RecoveryCodesNew,
		DomainFooter, DomainArchive, MailboxArchive,
		RulesShow, RulesAdd, RulesRemove, RulesMove, RulesTest, AbsenceShow, AbsenceSet, AbsenceOff,
		QuotaSet, QuotaShow, QuotaList, QuotaRecalculate,
		RetentionShow, RetentionSet, RetentionRun,
		BackupCreate, BackupRun, BackupStart, BackupList, BackupVerify, BackupPrune, RestoreMail, RestoreToBox,
		UndeleteList, UndeleteShow, UndeleteRestore, UndeletePurge,
		AliasAdd, AliasRemove, AliasList,
		GroupAdd, GroupRemove, GroupList, GroupShow, GroupMemberAdd, GroupMemberRemove, GroupAccept,
		GroupOutside, GroupInbound,
		SendAsGrant, SendAsRevoke, SendAsList,
		OperatorAdd, OperatorRemove, OperatorList, OperatorShow,
		QueueList, QueueShow, QueueActive, QueueRetry, QueueFlush, QueueHold, QueueRelease,
		QueueBounce, QueueRemove,
		QuarantineList, QuarantineShow, QuarantineRetry, QuarantineRemove,
		BadmailList, BadmailShow, BadmailSend, BadmailRemove,
		RouteList, RouteTest,
		DKIMCreate, DKIMShow, DKIMRotate, DKIMRemove, DNSRecords,
		DeviceAdd, DeviceRemove, DeviceList, DeviceShow, DeviceTest, DeviceSuggest,
		DirectoryList, DirectoryTest,
		BansList, BansWhy, BansLift,
		TLSShow, TLSRenew, TLSExportCA, TLSCSR, TLSClients, TLSClientCert, TLSClientCerts, TLSClientRevoke,
		ACMEStatus, ACMERenew,
		FetchList, FetchNow,
		ServerStatus, SessionList, SessionKill, LiveTop,
		LogLevels, LogLevelSet, LogShow,
		Check, AuditShow, Trace, MailStatistics, Explain, RefusalList,
		PolicyList, PolicyTry, PolicySet, PolicyReset, PolicyUndo, PolicyDiff,
		ServerReload, SettingWrite, ClientSettings, ClientSetup, DomainTotals, MailboxTotals, EmptyLog, CountAgain,
	}
}

// Setting is a name and what is set for it.
type Setting struct{ Name, Value string }

// Members is a name and what belongs to it.
type Members struct {
	Name    string
	Members []string
}

// without, pair and several make a verb's function of a method with no input, with two names and
// with many.

func without[Out any](do func(*Service) (Out, error)) func(*Service, struct{}) (Out, error) {
	return func(s *Service, _ struct{}) (Out, error) { return do(s) }
}

func pair(
	do func(s *Service, name, value string) (Change, error),
) func(*Service, Setting) (Change, error) {
	return func(s *Service, in Setting) (Change, error) { return do(s, in.Name, in.Value) }
}

func several(
	do func(s *Service, name string, members ...string) (Change, error),
) func(*Service, Members) (Change, error) {
	return func(s *Service, in Members) (Change, error) {
		return do(s, in.Name, in.Members...)
	}
}
