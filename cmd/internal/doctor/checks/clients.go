package checks

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
	"pillarbox/smtp/decisionlog"
	"pillarbox/tls/certs"
)

// mostClients is the number of clients, mailboxes or destinations that one check lists.
const mostClients = 10

// secrets reports files with passwords that others can read, rules that permit weak passwords, and
// stored secrets that no login can use.
func (e *Env) secrets(context.Context) findings {
	all := append(judgeModes(secretFiles(e.Config), fileMode), judgeRules(e.Config)...)
	kinds, err := e.storedSecrets()
	if err != nil {
		return append(all, failed("the stored secrets are not known", err)...)
	}
	return orOK(append(all, judgeStored(kinds, e.Config.LogIns.Mechanisms)...),
		"the files with secrets are private, and the rules for passwords are strict enough")
}

// secretFiles returns the files of the configuration that hold passwords and keys.
func secretFiles(cfg *config.Config) (files []string) {
	for _, f := range cfg.NamedFiles() {
		key := f.Key[strings.LastIndex(f.Key, ".")+1:]
		if strings.Contains(key, "password") || strings.Contains(key, "secret") ||
			strings.Contains(key, "token") || strings.HasSuffix(key, "key") || key == "key_file" {
			files = append(files, f.Path)
		}
	}
	files = append(files, cmp.Or(cfg.LogIns.KeyFile, filepath.Join(cfg.Data, "secrets.key")))
	slices.Sort(files)
	return slices.Compact(files)
}

func fileMode(file string) (fs.FileMode, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return fi.Mode(), nil
}

// judgeModes reports files that every user of the machine can read or write. A file that is missing
// has another check.
func judgeModes(files []string, mode func(string) (fs.FileMode, error)) (all findings) {
	for _, file := range files {
		if m, err := mode(file); err == nil && m&0o007 != 0 {
			all = append(all, about(file,
				problem("'chmod o= "+file+"'; then change the secret in it",
					"every user of this machine can use %s, which holds a secret (mode "+
						"%03o)", file, m.Perm())))
		}
	}
	return all
}

// judgeRules reports rules that permit passwords which attackers guess.
func judgeRules(cfg *config.Config) (all findings) {
	const enough = 8
	if n := cfg.Passwords.MinLength; n < enough {
		all = append(all, about("passwords.min_length",
			warning("set passwords.min_length = 10 in the configuration",
				"a new password may have %d characters; one of fewer than %d is soon "+
					"guessed", n, enough)))
	}
	if !cfg.Passwords.DenyCommon {
		all = append(all, about("passwords.deny_common",
			warning("set passwords.deny_common = true in the configuration",
				"passwords that attackers try first are permitted")))
	}
	if cfg.LogIns.NTLMv1 {
		all = append(all, about("auth.ntlm_v1",
			warning("set auth.ntlm_v1 = false, unless Outlook Express before Windows Vista "+
				"needs it",
				"NTLM version 1 is permitted; a listener in the network can compute the password")))
	}
	return all
}

// storedSecrets counts the mailboxes that store each kind of secret.
func (e *Env) storedSecrets() (map[directory.SecretKind]int, error) {
	domains, err := e.Data.Dir.Domains()
	if err != nil {
		return nil, err
	}
	kinds := make(map[directory.SecretKind]int)
	for _, d := range domains {
		boxes, err := e.Data.Dir.MailboxesAsFound(d)
		if err != nil {
			return nil, err
		}
		for _, box := range boxes {
			for _, kind := range box.Account.Secrets.Kinds {
				kinds[kind]++
			}
		}
	}
	return kinds, nil
}

// judgeStored reports kinds of secrets that are stored without use: no permitted mechanism needs
// them, and they do more harm than a hash if they are stolen.
func judgeStored(kinds map[directory.SecretKind]int, permitted []string) (all findings) {
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		used := slices.ContainsFunc(permitted,
			func(m string) bool { return slices.Contains(auth.Needs(m), kind) })
		if kind == directory.SecretAPOP && slices.Contains(permitted, "APOP") {
			used = true
		}
		if !used && kinds[kind] > 0 {
			all = append(all, about(string(kind),
				warning("'pillarbox admin mailbox secrets USER none' deletes it; "+
					"'store' in [auth] must not name it",
					"%d mailboxes store the secret %q, which no mechanism in auth.mechanisms "+
						"uses", kinds[kind], kind)))
		}
	}
	return all
}

// legacyTLS reports clients that use TLS 1.0 or 1.1, or were refused because of it.
func (e *Env) legacyTLS(ctx context.Context) findings {
	clients, err := e.Server.TLSClients(ctx)
	if err != nil {
		return skipped("the server is not running; it keeps the list in memory")
	}
	return judgeTLSClients(clients)
}

func judgeTLSClients(clients []certs.Client) (all findings) {
	for _, c := range clients {
		where := fmt.Sprintf("%s %s", c.Address, c.Service)
		last := c.Last.UTC().Format(time.RFC3339)
		switch {
		case c.Refused:
			all = append(all, about(where,
				warning("update the program; or name its address in tls.legacy_networks, if "+
					"that is impossible",
					"%s was refused at %s, because it knows only %s (last "+
						"%s)", c.Address, c.Service, c.Protocol, last)))
		case c.Legacy, c.WeakCipher:
			all = append(all, about(where,
				warning("update the program; then remove its address from tls.legacy_networks",
					"%s uses %s at %s with %s (last "+
						"%s)", c.Address, c.Protocol, c.Service, c.Cipher, last)))
		}
	}
	return orOK(first(mostClients, all, "'pillarbox admin tls clients --legacy'"),
		"none of %d clients needs old TLS", len(clients))
}

// plaintextRecords is the number of decisions that are looked at.
const plaintextRecords = 20000

// plaintext reports clients that logged in to SMTP without TLS.
func (e *Env) plaintext(context.Context) findings {
	records, err := decisionlog.Recent(e.Data.Root, plaintextRecords)
	if err != nil {
		return failed("the decision log cannot be read", err)
	}
	return judgePlaintext(records, e.Now())
}

// plaintextPOP3 reports clients that logged in to POP3 without TLS.
func (e *Env) plaintextPOP3(ctx context.Context) findings {
	last := make(plainLogins)
	week := track.Query{Kinds: []track.Kind{track.LoggedIn}, Since: e.Now().Add(-7 * 24 * time.Hour)}
	if _, err := track.Walk(ctx, e.Data.Root, week, last.add); err != nil {
		return failed("the events of mail cannot be read", err)
	}
	return last.judge()
}

// plainLogins are the latest logins without TLS of each client and user.
type plainLogins map[string]time.Time

// maxPlainLogins is the number of clients that are remembered.
const maxPlainLogins = 10000

// add takes a login. The event's text has the version of TLS after the mechanism. A client on this
// machine crosses no network.
func (p plainLogins) add(e *track.Event) {
	if e.Service != string(directory.ServicePOP3) || e.Remote.IsLoopback() || strings.Contains(e.Text, ", TLS ") {
		return
	}
	client := fmt.Sprintf("%s as %s", e.Remote, e.User)
	if _, known := p[client]; !known && len(p) >= maxPlainLogins {
		return
	}
	if e.Time.After(p[client]) {
		p[client] = e.Time
	}
}

func (p plainLogins) judge() (all findings) {
	for _, client := range slices.Sorted(maps.Keys(p)) {
		all = append(all, about(client,
			warning("set the mail program to SSL/TLS, port 995 ('pillarbox settings' shows what "+
				"to type); when no program needs it, empty auth.plaintext_networks",
				"a client logged in to POP3 without TLS from %s (last %s)", client,
				p[client].UTC().Format(time.RFC3339))))
	}
	return orOK(first(mostClients, all, "update the programs above first"),
		"no client logged in to POP3 without TLS in the last week")
}

// judgePlaintext looks at the decisions of the last week. A client on this machine crosses no
// network. The decision log has no logins to POP3; plaintextPOP3 looks at those.
func judgePlaintext(records []decisionlog.Record, now time.Time) (all findings) {
	const recent = 7 * 24 * time.Hour
	last := make(map[string]time.Time)
	for _, r := range records {
		f := &r.Facts
		if f.User.IsZero() || f.User.ByPOP3 || f.TLSVersion != 0 || f.Remote.IsLoopback() || now.Sub(r.Time) > recent {
			continue
		}
		client := fmt.Sprintf("%s as %s", f.Remote, f.User.Address)
		if r.Time.After(last[client]) {
			last[client] = r.Time
		}
	}
	for _, client := range slices.Sorted(maps.Keys(last)) {
		all = append(all, about(client,
			warning("set the mail program to SSL/TLS ('pillarbox settings' shows what to type); "+
				"when no program needs it, empty auth.plaintext_networks",
				"a client logged in to SMTP without TLS from %s (last "+
					"%s)", client, last[client].UTC().Format(time.RFC3339))))
	}
	return orOK(first(mostClients, all, "update the programs above first"),
		"no client logged in to SMTP without TLS in the last week")
}
