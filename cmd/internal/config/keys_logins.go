package config

import (
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/ldap"
	"pillarbox/mailstore/system"
	"pillarbox/smtp/policy"
)

// loginSections are logins, passwords and the accounts of this machine.
func loginSections() []sectionRow {
	return []sectionRow{
		{"auth", "", []key{
			plaintextNetworks("auth.plaintext_networks",
				`Networks, or single addresses, whose clients may send a password without TLS: your
				own LAN, for old mail programs and devices. All others must use TLS. Do not list a
				gateway or proxy through which others connect. ("Basic authentication" without
				"Requires TLS encryption")`).inSetup(),
			boolean("auth.client_certificates",
				func(c *Config) *bool { return &c.Auth.ClientCertificates }, false,
				`Ask mail programs for a certificate, which replaces the password. "pillarbox admin
				tls client-cert" makes one. Users without a certificate may still use their
				password.`),
			text("auth.method", func(c *Config) *directory.Method { return &c.LogIns.Method }, method,
				directory.ByFile,
				`Where passwords are checked, for domains without a method of their own ("pillarbox
				admin domain method"). "file": the passwords of the mailboxes. "directory", or
				"directory:name": an LDAP server of a [[directory]] below. "system": the accounts of
				this machine, see [system]. ("Authentication method": encrypted password file,
				Active Directory, local Windows accounts)`),
			text("auth.login_names", func(c *Config) *directory.LoginNames { return &c.LogIns.Names },
				words(directory.LoginByMailbox, directory.LoginByAlias, directory.LoginByName), directory.LoginByMailbox,
				`Names by which a user may log in. "mailbox": the name of the mailbox; "alias": its
				aliases too; "name": its aliases and its full name ("pillarbox admin mailbox name"),
				such as John Doe. A full name that two mailboxes have is refused. ("Internet
				authentication: more name variations")`),
			list("auth.mechanisms", func(c *Config) *[]string { return &c.LogIns.Mechanisms },
				words(auth.Mechanisms()...), auth.Mechanisms(),
				`The permitted login mechanisms. PLAIN and LOGIN need only the hash of the password.
				The others need more, see store. They are offered when every mailbox that can log in
				has stored it, or as challenge_networks says. PLAIN also stands for USER and PASS of
				POP3; few programs can read mail without it. EXTERNAL is a client certificate
				("pillarbox admin tls client-cert"), APOP belongs to POP3, NTLM is "Secure Password
				Authentication (SPA)".`),
			list("auth.store", func(c *Config) *[]directory.SecretKind { return &c.LogIns.Store },
				words(directory.SecretKinds()...), nil,
				`The secrets that every mailbox stores beside the hash of its password: "spa" for
				NTLM, "cram-md5", "apop" (the password itself, which serves CRAM-MD5 too), "scram"
				for SCRAM-SHA-256. A thief can log in with all but "scram"; the server encrypts them
				with key_file. "pillarbox admin mailbox secrets" sets the secrets of one mailbox. The
				next login with PLAIN or LOGIN, or a new password, stores a secret.`),
			list("auth.challenge_networks", func(c *Config) *[]network { return &c.LogIns.Challenge },
				anyNetwork, nil,
				`Networks, or single addresses, of computers that use SPA, CRAM-MD5, APOP or SCRAM.
				There a mechanism is offered as soon as one mailbox has its secret. Programs that
				pick the strongest mechanism, such as curl, then fail for mailboxes without the
				secret.`),
			boolean("auth.require_spa", func(c *Config) *bool { return &c.LogIns.RequireSPA }, false,
				`Accept no login but NTLM, not even over TLS. ("Require Secure Password
				Authentication (SPA) for all client connections")`),
			boolean("auth.ntlm_v1", func(c *Config) *bool { return &c.LogIns.NTLMv1 }, false,
				`Accept the first version of NTLM too, for programs that know no other: Outlook
				Express on Windows before Vista with its default settings, fetchmail, msmtp and
				mpop. An eavesdropper can compute the password from such a login within days.`),
			list("auth.pop_before_smtp_networks", func(c *Config) *[]network { return &c.LogIns.Recent },
				trustedNetwork, nil,
				`Networks, or single addresses, of old programs that cannot log in to send mail. For
				half an hour after a POP3 login, every program at the same address may send as that
				user; the server warns of that when it loads the file. ("Log on to incoming mail
				server before sending mail")`),
			path("auth.key_file", func(c *Config) *string { return &c.LogIns.KeyFile },
				optional(filePath), "",
				`The key that encrypts stored secrets. The server makes it when it is first needed.
				Empty: secrets.key below data. A backup without it has no usable secrets; then the
				next login with a password stores them again.`),
		}},
		{"passwords", `Rules for new passwords. Passwords in use stay valid.`, []key{
			number("passwords.min_length", func(c *Config) *int { return &c.Passwords.MinLength },
				bounds{0, 128}, 8, `The smallest number of characters; 0 means no limit.`),
			boolean("passwords.deny_common",
				func(c *Config) *bool { return &c.Passwords.DenyCommon }, true,
				`Refuse passwords that attackers try first, such as "password1" and "qwertz123".`),
			path("passwords.deny_list", func(c *Config) *string { return &c.Passwords.DenyList },
				optional(filePath), "",
				`A file of further passwords to refuse, one on each line. It is read at start and at
				reload.`),
			number("passwords.max_age", func(c *Config) *int { return &c.Passwords.MaxAge },
				bounds{0, MaxDays}, 0,
				`After this number of days a password expires and must be changed; 0 means never.
				Most offices should leave it 0: users who must change passwords choose worse ones.`),
			number("passwords.reuse", func(c *Config) *int { return &c.Passwords.Reuse },
				bounds{0, auth.MaxReuse}, 0,
				`The number of a mailbox's last passwords, including the present one, that it may not
				use again; 0 means no limit.`),
		}},
		{"web", `The page, which listen.web turns on.`, []key{
			boolean("web.operators_second_factor",
				func(c *Config) *bool { return &c.Web.OperatorsSecondFactor }, false,
				`Operators need a second factor: until one has set it up, the page opens nothing else
				for that operator.`),
		}},
		{"system", `The accounts of this machine, for auth.method = "system". ("Local Windows
			accounts")`, []key{
			text("system.check", func(c *Config) *SystemCheck { return &c.System.Check },
				words(UnixChkpwd, Checkpassword), UnixChkpwd,
				`How a password is checked. "unix_chkpwd" is a helper of PAM that answers only root
				and members of the group shadow. To join that group, add
				SupplementaryGroups=shadow below [Service] with "systemctl edit pillarbox"; the
				server can then read the hash of every password. "checkpassword" runs a program,
				which is given here with its arguments. It gets name and password on descriptor 3
				and exits with 0 or 1.`),
			list("system.checkpassword", func(c *Config) *[]string { return &c.System.Checkpassword },
				argument, nil, above),
			number("system.min_uid", func(c *Config) *int { return &c.System.MinUID },
				bounds{1, 1<<31 - 1}, system.DefaultMinUID,
				`Accounts with a lower user id belong to the system. They cannot log in by
				unix_chkpwd.`),
			text("system.timeout", func(c *Config) *duration { return &c.System.Timeout },
				span("1s", "1m"), system.DefaultTimeout, `How long one check may take.`),
		}},
	}
}

// plaintextNetworks sets both the list of the policy and the networks of POP3.
func plaintextNetworks(name, doc string) key {
	k := list(name, func(c *Config) *[]network { return &c.Auth.PlaintextNetworks },
		trustedNetwork, nil, doc)
	rule := hosts(name, func(c *Config) *policy.HostList {
		return &c.Policy.LogIns.PlaintextNetworks
	}, nil, doc)
	set := k.set
	k.set = func(c *Config, v any, at func(int) string) []fault {
		if faults := set(c, v, at); faults != nil {
			return faults
		}
		return rule.set(c, v, at)
	}
	k.show, k.compile = rule.show, rule.compile
	return k
}

const directoryIntro = `An LDAP server with users, for auth.method = "directory" and "pillarbox admin
	domain method". Write one [[directory]] for each directory; the first one counts where no name
	is given. No variable overrides an entry. "pillarbox admin directory test" tries one out.`

// directoryKeys are those of [[directory]].
func directoryKeys(section string, i int) []key {
	of := func(c *Config) *Directory { return &c.Directories[i] }
	in := func(name string) string { return section + "." + name }
	return entryKeys([]key{
		text(in("name"), func(c *Config) *string { return &of(c).Name }, optional(label), "",
			`Its name in methods, logs and commands. Empty: the name of the first server.`).
			example(`"corp"`),
		text(in("kind"), func(c *Config) *ldap.Kind { return &of(c).Kind },
			words(ldap.ActiveDirectory, ldap.OpenLDAP), "",
			`"activedirectory" or "openldap". The kind decides the defaults of the filters and
			attributes below.`).example(`"activedirectory"`),
		atLeastOne(`["ldaps://dc1.office.example"]`,
			list(in("servers"), func(c *Config) *[]string { return &of(c).Servers }, ldapServer, nil,
				`The servers, the preferred one first. start_tls encrypts "ldap://". ca_file is the
				CA of their certificates; empty: the CAs that the system trusts.`)).
			example(`["ldaps://dc1.corp.example", "ldaps://dc2.corp.example"]`),
		boolean(in("start_tls"), func(c *Config) *bool { return &of(c).StartTLS }, false, above),
		path(in("ca_file"), func(c *Config) *string { return &of(c).CAFile }, optional(filePath), "",
			above),
		text(in("timeout"), func(c *Config) *duration { return &of(c).Timeout }, span("1s", "1m"),
			ldap.DefaultTimeout, `How long to wait for a connection, and for each answer.`),
		text(in("bind_dn"), func(c *Config) *string { return &of(c).BindDN }, optional(credential), "",
			`The account that searches, and a file whose first line is its password. Only the
			server's own account may read the file. Empty: search without a login.`).
			example(`"CN=pillarbox,CN=Users,DC=corp,DC=example"`),
		path(in("password_file"), func(c *Config) *string { return &of(c).PasswordFile },
			optional(filePath), "", above).example(`"ldap.password"`),
		text(in("user_dn"), func(c *Config) *string { return &of(c).UserDN }, checked(ldap.CheckUserDN,
			`write one such as "%u@office.example", "OFFICE\\%u" or `+
				`"uid=%u,ou=people,dc=office,dc=example"`), "",
			`The name to log in with to check a password. %u is the user name, %d the domain, %a the
			address: "%u@corp.example", "CORP\\%u" or "uid=%u,ou=people,dc=corp,dc=example". Empty:
			the entry that user_filter finds below base. With both, users look themselves up and
			bind_dn may be empty.`),
		text(in("base"), func(c *Config) *string { return &of(c).Base },
			checked(ldap.CheckDN, `write one such as "dc=office,dc=example"`), "",
			above).example(`"DC=corp,DC=example"`),
		text(in("user_filter"), func(c *Config) *string { return &of(c).UserFilter },
			checked(checkUserFilter, filterHint), "", above).
			example(quote(ldap.Defaults(ldap.ActiveDirectory).UserFilter)),
		boolean(in("lookup"), func(c *Config) *bool { return &of(c).Lookup }, false,
			`Take mailboxes, aliases, groups and quota from the directory too, for names that do not
			exist here. ("LDAP routing")`),
		text(in("create"), func(c *Config) *Create { return &of(c).Create },
			words(CreateAtDelivery, CreateAtLogin, CreateNever), CreateAtDelivery,
			`When to create a mailbox that the directory knows: at its first message or login
			("delivery"), at its first login ("login"; mail before that is refused), or by hand
			("never"). ("Always create an associated user for new mailboxes")`),
		text(in("mailbox_attribute"), func(c *Config) *string { return &of(c).MailboxAttr }, attribute,
			"", `The attributes with the address of the mailbox and with its further addresses; a
			leading "smtp:" is ignored. address_filter finds the owner of the address %a; empty: the
			entry with it in one of these attributes.`).example(`"mail"`),
		list(in("alias_attributes"), func(c *Config) *[]string { return &of(c).AliasAttrs }, attribute,
			nil, above).example(`["proxyAddresses"]`),
		text(in("address_filter"), func(c *Config) *string { return &of(c).AddressFilter },
			optional(checked(ldap.CheckFilter, filterHint)), "", above),
		text(in("group_filter"), func(c *Config) *string { return &of(c).GroupFilter },
			optional(checked(ldap.CheckFilter, filterHint)), "",
			`Which entries are groups, "" for none, and the attributes with their members: entries,
			addresses or user names.`).example(`"(objectClass=group)"`),
		list(in("member_attributes"), func(c *Config) *[]string { return &of(c).MemberAttrs },
			attribute, nil, above).example(`["member"]`),
		text(in("quota_attribute"), func(c *Config) *string { return &of(c).QuotaAttr },
			optional(attribute), "",
			`The attribute with the limit of a mailbox, "" for no limit from the directory, and its
			unit: "B", "KB" or "MB".`).example(`"mDBOverHardQuotaLimit"`),
		text(in("quota_unit"), func(c *Config) *ldap.Unit { return &of(c).QuotaUnit },
			words(ldap.Bytes, ldap.Kilobytes, ldap.Megabytes), "", above).example(`"KB"`),
		boolean(in("refuse_ambiguous"), func(c *Config) *bool { return &of(c).RefuseAmbiguous },
			false, `Mail to an address that two entries have: true refuses it (550), false defers it
			(451), so that it comes when the entries are corrected. ("SMTPDenyNotUniqueRCPT=1")`),
		list(in("netbios"), func(c *Config) *[]string { return &of(c).NetBIOS }, netBIOS, nil,
			`The names that users write before the backslash, as in CORP\anna.`).
			example(`["CORP"]`),
		text(in("fresh"), func(c *Config) *duration { return &of(c).Fresh }, span("1s", "24h"),
			ldap.DefaultFresh,
			`How long an entry, and a correct password, count without a new question to the server;
			and how long both count while no server answers.`),
		text(in("fresh_passwords"), func(c *Config) *duration { return &of(c).FreshPasswords },
			span("1s", "24h"), ldap.DefaultFreshPasswords, above),
		text(in("stale"), func(c *Config) *duration { return &of(c).Stale }, span("1s", "168h"),
			ldap.DefaultStale, above),
	}, func(c *Config) bool { return i < len(c.Directories) })
}
