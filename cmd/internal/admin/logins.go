package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/ldap"
	"pillarbox/mailstore/system"
)

// secretsKey is the default file of the key that encrypts stored secrets.
const secretsKey = "secrets.key"

// NewKeeper returns the store of passwords for a configuration.
func NewKeeper(cfg *config.Config) *auth.SecretStore {
	return auth.NewSecretStore(newVault(cfg), RulesOf(cfg))
}

func newVault(cfg *config.Config) *auth.SecretKey {
	return auth.NewSecretKey(cmp.Or(cfg.LogIns.KeyFile, filepath.Join(cfg.Data, secretsKey)))
}

// RulesOf returns the rules for new passwords.
func RulesOf(cfg *config.Config) auth.Rules {
	p := cfg.Passwords
	return auth.Rules{
		MinLength: p.MinLength, Common: p.Common, Denied: p.Denied, Reuse: p.Reuse, MaxAge: time.Duration(p.MaxAge) * 24 * time.Hour,
		Store: cfg.LogIns.Store,
	}
}

// AuthSettings returns the settings of the Authenticator.
func (o *Service) AuthSettings() auth.Settings {
	cfg := o.Config()
	return auth.Settings{
		Hostname: string(cfg.Hostname), Domain: string(o.Dir.DefaultDomain()), Mechanisms: cfg.LogIns.Mechanisms,
		RequireSPA: cfg.LogIns.RequireSPA, NTLMv1: cfg.LogIns.NTLMv1, ChallengeNetworks: cfg.LogIns.Challenge,
	}
}

// newAccount returns the account of a new mailbox.
func (o *Service) newAccount(a addr.Address, n NewMailbox) (account directory.Account, err error) {
	if n.Quota != "" {
		if account.Quota, err = parseQuota(n.Quota); err != nil {
			return account, err
		}
	}
	account.Store = n.Store
	if n.Password == "" {
		return account, nil
	}
	if m, err := o.Dir.MethodOf(a.Domain); err == nil && m != directory.ByFile {
		err := fmt.Errorf("mailbox %s: cannot set a password: %s checks the passwords of this domain",
			a, m)
		return account, Hint(err,
			"add it with --no-password; 'pillarbox admin mailbox migrate-auth %s file' then gives it a password of its own", a)
	}
	set, err := o.Keeper.New(a, account, n.Password, time.Now())
	if err != nil {
		return account, err
	}
	return account, set(&account)
}

// SetPassword sets the password of a mailbox. From now on the secrets in more are stored too.
func (o *Service) SetPassword(user, password string, more ...directory.SecretKind) (Change, error) {
	return o.changeMailbox(user, "has a new password", func(a addr.Address) ([]string, error) {
		box, err := o.Dir.Mailbox(a)
		if err == nil {
			err = ownPassword(box)
		}
		if err != nil {
			return nil, err
		}
		// Hash before the directory is locked, because hashing is slow.
		set, err := o.Keeper.New(a, box.Account, password, time.Now())
		if err != nil {
			return nil, err
		}
		warnings := o.choiceWarnings(a, more)
		if n := len(box.Account.AppPasswords); n > 0 {
			warnings = append(warnings, fmt.Sprintf("its app passwords stay valid, %d of them; "+
				"'pillarbox admin mailbox app-password list %s' shows them", n, a))
		}
		return warnings, o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			acc.Store = union(acc.Store, more)
			return set(acc)
		})
	})
}

// PasswordToSet is the input of MailboxPasswd. Try changes no password, checks one that
// is given, and returns the rules. It reports an error if the mailbox does not exist, or if the caller may not read its domain.
type PasswordToSet struct {
	User, Password string
	Store          []directory.SecretKind // to store too, beside the hash
	Try            bool
}

func (o *Service) passwd(in PasswordToSet) (Change, error) {
	if err := checkSecrets(in.Store); err != nil {
		return Change{}, err
	}
	if in.Try {
		box, err := o.mailbox(in.User)
		if err == nil {
			err = o.tryPassword(box.Address, in.Password)
		}
		return Change{Text: o.Keeper.Rules().Text()}, err
	}
	return o.SetPassword(in.User, in.Password, in.Store...)
}

// tryPassword checks a password by the rules, before a person repeats it; "" is none yet.
func (o *Service) tryPassword(user addr.Address, password string) error {
	if password == "" {
		return nil
	}
	rules := o.Keeper.Rules()
	return o.explain(rules.Check(user, password), user.Domain, "")
}

// ownPassword returns an error if another system checks the password of a mailbox.
func ownPassword(box directory.Mailbox) error {
	if box.Method == directory.ByFile {
		return nil
	}
	err := fmt.Errorf("mailbox %s: its password is checked by %s, not by this server",
		box.Address, box.Method)
	return Hint(err,
		"change it there; 'pillarbox admin mailbox migrate-auth %s file' gives the mailbox a password of its own", box.Address)
}

func union(a, b []directory.SecretKind) []directory.SecretKind {
	var all []directory.SecretKind
	for _, kind := range directory.SecretKinds() {
		if slices.Contains(a, kind) || slices.Contains(b, kind) {
			all = append(all, kind)
		}
	}
	return all
}

// ParseSecrets parses the names of secrets, or of mechanisms that need them. "none" means no
// secrets.
func ParseSecrets(names []string) ([]directory.SecretKind, error) {
	if len(names) == 1 && names[0] == "none" {
		return nil, nil
	}
	var kinds []directory.SecretKind
	for _, name := range names {
		kind := directory.SecretKind(strings.ToLower(name))
		if byMechanism := auth.Needs(strings.ToUpper(name)); len(byMechanism) > 0 {
			kind = byMechanism[0]
		}
		if !slices.Contains(directory.SecretKinds(), kind) {
			return nil, Hint(fmt.Errorf("%q is not a secret that can be stored", name), secretsHint)
		}
		kinds = append(kinds, kind)
	}
	return union(kinds, nil), nil
}

// checkSecrets refuses kinds that do not exist: they would be stored as a wish that is never met.
func checkSecrets(kinds []directory.SecretKind) error {
	for _, kind := range kinds {
		if !slices.Contains(directory.SecretKinds(), kind) {
			return Hint(fmt.Errorf("%q is not a secret that can be stored", kind), secretsHint)
		}
	}
	return nil
}

const secretsHint = "write spa (for NTLM), cram-md5, apop, scram, or none"

// SetSecrets sets the secrets that are stored beside the hash of a mailbox's password. Other stored
// secrets are deleted at once.
func (o *Service) SetSecrets(user string, names ...string) (Change, error) {
	kinds, err := ParseSecrets(names)
	if err != nil {
		return Change{}, err
	}
	done := "stores only the hash of its password"
	if all := union(kinds, o.Config().LogIns.Store); len(all) > 0 {
		done = "stores for " + joinKinds(all)
	}
	return o.changeMailbox(user, done, func(a addr.Address) (warnings []string, err error) {
		err = o.Dir.UpdateAccount(a, func(acc *directory.Account) error { return o.Keeper.SetStore(acc, kinds) })
		if box, lookup := o.Dir.Mailbox(a); err == nil && lookup == nil {
			warnings = o.secretWarnings(box, kinds)
		}
		return warnings, err
	})
}

func joinKinds(kinds []directory.SecretKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// secretWarnings returns warnings about a mailbox for which these secrets were chosen.
func (o *Service) secretWarnings(box directory.Mailbox, chosen []directory.SecretKind) (warnings []string) {
	wanted := o.Keeper.Wanted(&box.Account)
	missing := slices.DeleteFunc(slices.Clone(wanted), box.Account.Secrets.Has)
	switch {
	case len(wanted) > 0 && box.Method != directory.ByFile:
		return []string{fmt.Sprintf("%s checks its password, so no secret can be stored; only PLAIN and LOGIN work", box.Method)}
	case len(missing) > 0:
		warnings = append(warnings, fmt.Sprintf("still missing: %s; the next login with PLAIN or LOGIN, or a new password, stores it", joinKinds(missing)))
	}
	if kept := slices.DeleteFunc(slices.Clone(wanted), func(k directory.SecretKind) bool { return slices.Contains(chosen, k) }); len(kept) > 0 {
		warnings = append(warnings, fmt.Sprintf("'store' in [auth] has %s for every mailbox", joinKinds(kept)))
	}
	return append(warnings, o.choiceWarnings(box.Address, chosen)...)
}

// choiceWarnings returns warnings about other conditions for a login with these secrets.
func (o *Service) choiceWarnings(chooser addr.Address, chosen []directory.SecretKind) (warnings []string) {
	if slices.Contains(chosen, directory.SecretSPA) && !o.Config().LogIns.NTLMv1 {
		warnings = append(warnings, "Outlook Express before Windows Vista, fetchmail and msmtp also need ntlm_v1 = true in [auth]")
	}
	var held []string
	for _, m := range auth.Mechanisms() {
		needs := auth.Needs(m)
		if len(needs) > 0 && slices.Contains(chosen, needs[0]) && o.heldBack(chooser, needs) {
			held = append(held, m)
		}
	}
	if len(held) > 0 {
		warnings = append(warnings, fmt.Sprintf("the server does not offer %s, because not every mailbox stores its secret; "+
			"add this user's computer to challenge_networks in [auth], or store the secret for every mailbox", strings.Join(held, ", ")))
	}
	return warnings
}

// heldBack reports whether a mechanism that needs one of these secrets is offered only in
// auth.challenge_networks, because a mailbox other than the chooser's cannot use it.
func (o *Service) heldBack(chooser addr.Address, needs []directory.SecretKind) bool {
	if o.Config().LogIns.RequireSPA {
		return false
	}
	domains, _ := o.Dir.Domains()
	for _, d := range domains {
		boxes, _ := o.Dir.MailboxesAsFound(d)
		for _, box := range boxes {
			own := box.Method == directory.ByFile
			switch {
			case box.Damage != nil, box.Locked, !box.Account.Access.Permits(""), box.Address == chooser, own && box.Account.Verifier == "":
			case !own, !slices.ContainsFunc(needs, box.Account.Secrets.Has):
				return true
			}
		}
	}
	return false
}

// ownPasswords yields the mailboxes whose passwords this server stores.
func (o *Service) ownPasswords() iter.Seq[directory.Mailbox] {
	return func(yield func(directory.Mailbox) bool) {
		domains, _ := o.Dir.Domains()
		for _, d := range domains {
			boxes, _ := o.Dir.MailboxesAsFound(d)
			for _, box := range boxes {
				if box.Damage == nil && box.Method == directory.ByFile && box.Account.Verifier != "" && !yield(box) {
					return
				}
			}
		}
	}
}

// LogInWarnings returns warnings about mailboxes that cannot log in because of the settings.
func (o *Service) LogInWarnings() []string {
	warnings := append(o.methodWarnings(), o.accountWarnings()...)
	if cfg := o.Config(); cfg.LogIns.RequireSPA || cfg.Passwords.MaxAge > 0 { // reads every account, so only if needed
		warnings = append(o.passwordWarnings(cfg.LogIns.RequireSPA), warnings...)
	}
	return warnings
}

// passwordWarnings returns warnings about expired passwords and, if SPA is required, about
// mailboxes without its secret.
func (o *Service) passwordWarnings(requireSPA bool) (warnings []string) {
	var old, noSPA []addr.Address
	all := 0
	for box := range o.ownPasswords() {
		all++
		if o.Keeper.Expired(&box.Account, time.Now()) {
			old = append(old, box.Address)
		}
		if !box.Account.Secrets.Has(directory.SecretSPA) {
			noSPA = append(noSPA, box.Address)
		}
	}
	if requireSPA && len(noSPA) > 0 {
		warnings = append(warnings, fmt.Sprintf("auth.require_spa: %d of %d mailboxes cannot log in, because they have no secret for SPA: %s; "+
			"'pillarbox admin mailbox passwd' with --spa stores it", len(noSPA), all, someOf(noSPA)))
	}
	if len(old) > 0 {
		warnings = append(warnings, fmt.Sprintf("passwords.max_age: %d of %d mailboxes cannot log in, because their passwords are too old: %s",
			len(old), all, someOf(old)))
	}
	return warnings
}

// someOf formats a list, of which it names the first three at most.
func someOf(all []addr.Address) string {
	const most = 3
	if len(all) <= most {
		return joinAddresses(all)
	}
	return fmt.Sprintf("%s and %d more", joinAddresses(all[:most]), len(all)-most)
}

// methodWarnings returns warnings about domains, and mailboxes with a method of their own, whose
// method is not configured.
func (o *Service) methodWarnings() (warnings []string) {
	domains, _ := o.Dir.Domains()
	for _, d := range domains {
		boxes, _ := o.Dir.MailboxesAsFound(d)
		lost := make(map[directory.Method][]addr.Address)
		for _, box := range boxes {
			if box.Damage == nil && !o.configured(box.Method) {
				lost[box.Method] = append(lost[box.Method], box.Address)
			}
		}
		if own, err := o.Dir.MethodOf(d); err == nil && !o.configured(own) {
			warnings = append(warnings, fmt.Sprintf("%s (%d mailboxes): its password method %s is not configured, so no user can log in", d, len(lost[own]), own))
			delete(lost, own)
		}
		for _, m := range slices.Sorted(maps.Keys(lost)) {
			warnings = append(warnings, fmt.Sprintf("%s: the password method %s is not configured, so a login is impossible; "+
				"'pillarbox admin mailbox migrate-auth' sets another method", someOf(lost[m]), m))
		}
	}
	return warnings
}

// accountsChecked limits the accounts of this machine that accountWarnings looks up.
const accountsChecked = 1000

// accountWarnings returns a warning about mailboxes whose password this machine checks, and that it
// has no account for. A program of the administrator may know other accounts. A directory is not
// asked, because it may be slow or away.
func (o *Service) accountWarnings() []string {
	cfg := &o.Config().System
	if cfg.Check != config.UnixChkpwd {
		return nil
	}
	var lost []addr.Address
	all := 0
	domains, _ := o.Dir.Domains()
	for _, d := range domains {
		boxes, _ := o.Dir.MailboxesAsFound(d)
		for _, box := range boxes {
			if box.Damage != nil || box.Method != directory.BySystem || all == accountsChecked {
				continue
			}
			all++
			if found, err := system.Exists(box.Address.Local, cfg.MinUID); err == nil && !found {
				lost = append(lost, box.Address)
			}
		}
	}
	if lost == nil {
		return nil
	}
	return []string{fmt.Sprintf("the password method system: %d of %d mailboxes cannot log in, because this machine has no "+
		"account of their name with a user id of system.min_uid or more: %s; add the accounts, or "+
		"'pillarbox admin mailbox migrate-auth' sets another method", len(lost), all, someOf(lost))}
}

// configured reports whether the configuration has what the method needs.
func (o *Service) configured(m directory.Method) bool {
	return m == directory.ByFile || o.Backend(m) != nil
}

// LogInWay states whether a user can log in to a mailbox with one mechanism.
type LogInWay struct {
	Mechanism string `json:"mechanism"`
	Can       bool   `json:"can"`
	Why       string `json:"why,omitempty"`  // the reason why not
	Only      string `json:"only,omitempty"` // a limitation
	Held      bool   `json:"held,omitempty"` // offered only in auth.challenge_networks
}

// logInWays returns the state of every mechanism for a mailbox.
func (o *Service) logInWays(box directory.Mailbox) (ways []LogInWay) {
	settings := o.AuthSettings()
	for _, m := range auth.Mechanisms() {
		why := o.whyNot(box, m, &settings)
		way := LogInWay{Mechanism: m, Can: why == "", Why: why}
		if way.Can && m == auth.NTLM && !settings.NTLMv1 {
			way.Only = "its second version only; auth.ntlm_v1"
		}
		if way.Can && sendsPassword(m) && o.onlyApps(box) {
			way.Only = "app passwords only"
		}
		needs := auth.Needs(m)
		way.Held = way.Can && needs != nil && o.heldBack(box.Address, needs)
		ways = append(ways, way)
	}
	return ways
}

// sendsPassword reports whether a program sends the password itself with a mechanism, which can be an
// app password then.
func sendsPassword(mechanism string) bool { return mechanism == auth.PLAIN || mechanism == auth.LOGIN }

// onlyApps reports whether programs can use the app passwords of a mailbox, and not its password.
func (o *Service) onlyApps(box directory.Mailbox) bool {
	acc := &box.Account
	own := box.Method == directory.ByFile
	return len(acc.AppPasswords) > 0 && (acc.HasSecondFactor() || !o.configured(box.Method) ||
		own && (acc.Verifier == "" || o.Keeper.Expired(acc, time.Now())))
}

func (o *Service) whyNot(box directory.Mailbox, mechanism string, settings *auth.Settings) string {
	var kind directory.SecretKind // the secret that the mechanism needs
	kinds := auth.Needs(mechanism)
	if len(kinds) > 0 {
		kind = kinds[0]
	}
	has := kind == "" || slices.ContainsFunc(kinds, box.Account.Secrets.Has)
	refused := settings.Refuses(mechanism)
	switch {
	case box.Locked:
		return "it is locked"
	case !box.Account.Access.Permits(""):
		return "its access is none; 'pillarbox admin mailbox access' changes it"
	case refused != "":
		return refused
	case mechanism == auth.EXTERNAL && box.Method != directory.ByFile:
		return fmt.Sprintf("its password is checked by %s", box.Method)
	case mechanism == auth.EXTERNAL && !o.Config().Auth.ClientCertificates:
		return "auth.client_certificates is off"
	case mechanism == auth.EXTERNAL && len(box.Account.ClientCerts) == 0:
		return "it has no certificate; 'pillarbox admin tls client-cert' makes one"
	case mechanism == auth.EXTERNAL:
		return ""
	case sendsPassword(mechanism) && o.onlyApps(box):
		return ""
	case box.Account.HasSecondFactor() && sendsPassword(mechanism):
		return "it has a second factor and no app password; 'pillarbox admin mailbox app-password add' makes one"
	case box.Account.HasSecondFactor():
		return "it has a second factor, so programs cannot prove its password"
	case !o.configured(box.Method):
		return fmt.Sprintf("its method %s is not configured", box.Method)
	case kind != "" && box.Method != directory.ByFile:
		return fmt.Sprintf("its password is checked by %s", box.Method)
	case box.Method == directory.ByFile && box.Account.Verifier == "":
		return "it has no password"
	case has && kind != "" && o.Keeper.Check(&box.Account) != nil:
		return "the stored secret cannot be decrypted: auth.key_file is missing or has changed; a login with PLAIN or LOGIN stores it again"
	case !has && slices.Contains(o.Keeper.Wanted(&box.Account), kind):
		return fmt.Sprintf("the next login with PLAIN or LOGIN, or a new password, stores %s", kind)
	case !has:
		return fmt.Sprintf("%s is not stored, see 'admin mailbox secrets'", kind)
	case box.Method == directory.ByFile && o.Keeper.Expired(&box.Account, time.Now()):
		return "the password has expired"
	}
	return ""
}

// ParseMethod parses an authentication method. A method that is not configured is an error.
func (o *Service) ParseMethod(text string) (directory.Method, error) {
	m, err := directory.ParseMethod(text)
	if err != nil {
		return "", Hint(err, "file: passwords stored here; directory: a [[directory]] of the configuration; system: the accounts of this machine")
	}
	if !o.configured(m) {
		return "", Hint(fmt.Errorf("the method %s is not configured", m), "see [[directory]] and [system] in the configuration")
	}
	return m, nil
}

// SetDomainMethod sets the authentication method of a domain; "default" means that of the
// configuration.
func (o *Service) SetDomainMethod(name, text string) (Change, error) {
	var m directory.Method
	var err error
	if text != "default" {
		if m, err = o.ParseMethod(text); err != nil {
			return Change{}, err
		}
	}
	how := string(o.Dir.Named(m))
	if m == "" {
		how = string(o.defaultMethod()) + ", as auth.method says"
	}
	return o.changeDomain(name, "checks passwords by "+how, func(d addr.Domain) ([]string, error) {
		err := o.Dir.UpdateDomain(d, func(f *directory.DomainFile) error {
			f.Method = m
			return nil
		})
		if err != nil {
			return nil, err
		}
		return o.withoutPassword(d)
	})
}

func (o *Service) defaultMethod() directory.Method {
	return o.Dir.Named(cmp.Or(o.Config().LogIns.Method, directory.ByFile))
}

// withoutPassword returns a warning about mailboxes with the method directory.ByFile that have no
// password.
func (o *Service) withoutPassword(d addr.Domain) (warnings []string, err error) {
	boxes, err := o.Dir.MailboxesAsFound(d)
	if err != nil {
		return nil, err
	}
	boxes = slices.DeleteFunc(boxes, func(box directory.Mailbox) bool {
		return box.Damage != nil || box.Method != directory.ByFile || box.Account.Verifier != ""
	})
	if len(boxes) == 0 {
		return nil, nil
	}
	return []string{fmt.Sprintf("%d of its mailboxes have no password here, such as %s; 'pillarbox admin mailbox passwd' sets one",
		len(boxes), boxes[0].Address)}, nil
}

// Migration is a change of a mailbox's authentication method.
type Migration struct {
	Method   string
	Password string // for "file"; "" for none
	Force    bool   // migrate even if the new method does not know the user
}

// MailboxToMigrate is the input of MailboxMigrateAuth. Try only looks for the method and the
// mailbox.
type MailboxToMigrate struct {
	User string
	Migration
	Try bool
}

func (o *Service) migrateAuth(in MailboxToMigrate) (Change, error) {
	if !in.Try {
		return o.MigrateAuth(in.User, in.Migration)
	}
	_, err := o.ParseMethod(in.Method)
	if err == nil {
		var box directory.Mailbox
		if box, err = o.mailbox(in.User); err == nil {
			err = o.tryPassword(box.Address, in.Password)
		}
	}
	return Change{Text: o.Keeper.Rules().Text()}, err
}

// MigrateAuth changes the authentication method of a mailbox. Its mail does not change. The stored
// secrets of the old password are deleted.
func (o *Service) MigrateAuth(user string, m Migration) (Change, error) {
	method, err := o.ParseMethod(m.Method)
	if err != nil {
		return Change{}, err
	}
	if method != directory.ByFile {
		if err := o.RequireAll(true); err != nil {
			return Change{}, err
		}
	}
	done := "has its password checked by " + string(o.Dir.Named(method))
	if method == directory.ByFile {
		done = "has its password checked by this server"
	}
	return o.changeMailbox(user, done, func(a addr.Address) (warnings []string, err error) {
		box, err := o.Dir.Mailbox(a)
		if err != nil {
			return nil, err
		}
		switch {
		case box.Method != o.Dir.Named(method), m.Password != "":
		case box.Account.Method == "":
			warnings = []string{"its domain already has this method; the mailbox now keeps it if the domain changes"}
		default:
			warnings = []string{"it already had this method"}
		}
		if method == directory.ByFile {
			more, err := o.migrateToFile(box, m.Password)
			return append(warnings, more...), err
		}
		if err := o.findAccount(a, method); err != nil && !m.Force {
			return nil, err
		} else if err != nil {
			warnings = append(warnings, err.Error())
		}
		return warnings, o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			auth.Forget(acc)
			acc.Method = method
			return nil
		})
	})
}

func (o *Service) migrateToFile(box directory.Mailbox, password string) (warnings []string, err error) {
	set := func(*directory.Account) error { return nil }
	if password != "" {
		if set, err = o.Keeper.New(box.Address, box.Account, password, time.Now()); err != nil {
			return nil, err
		}
	} else if box.Account.Verifier == "" {
		warnings = []string{fmt.Sprintf("it has no password; 'pillarbox admin mailbox passwd %s' sets one", box.Address)}
	}
	return warnings, o.Dir.UpdateAccount(box.Address, func(acc *directory.Account) error {
		acc.Method = directory.ByFile
		return set(acc)
	})
}

// findAccount returns an error if a method does not know the user of a mailbox.
func (o *Service) findAccount(a addr.Address, m directory.Method) error {
	name, ok := m.Directory()
	if !ok {
		found, err := system.Exists(a.Local, o.Config().System.MinUID)
		if err == nil && !found {
			err = fmt.Errorf("this machine has no account %q", a.Local)
		}
		return Hint(err, "add the account first, or use --force")
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	dir := o.sources.directory(name)
	person, err := dir.Find(ctx, ldap.Login{User: a.Local, Domain: a.Domain})
	switch {
	case errors.Is(err, ldap.ErrNotFound):
		return Hint(fmt.Errorf("the directory %s has no user for %s", dir.Name(), a), "add the user there first, or use --force")
	case err != nil:
		return Hint(fmt.Errorf("directory %s: %w", dir.Name(), err), "'pillarbox admin directory test' shows the cause; --force migrates without the test")
	case !(ldapBackend{o, dir}).owns(person, a):
		return Hint(fmt.Errorf("the directory %s has %s for %q, whose mailbox is %s", dir.Name(), person.DN, a.Local, person.Mailbox),
			"'pillarbox admin mailbox rename' gives the mailbox the name that the directory has")
	}
	return nil
}
