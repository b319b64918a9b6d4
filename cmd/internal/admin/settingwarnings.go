package admin

import (
	"fmt"
	"path/filepath"
	"syscall"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// SettingWarnings returns warnings about settings that do not fit the domains and mailboxes of the
// data directory, or the server's account.
func (o *Service) SettingWarnings() (warnings []string) {
	cfg := o.Config()
	if d := cfg.DefaultDomain; d != "" {
		if hosted, err := o.Dir.Hosts(d); err == nil && !hosted {
			warnings = append(warnings, fmt.Sprintf("%s: default_domain: %s is not hosted here, so a login "+
				"or a recipient without a domain fails; 'pillarbox admin domain add %[2]s' adds it",
				cfg.Origin("default_domain"), d))
		}
	}
	if pm := cfg.Postmaster; !pm.IsZero() {
		if res, err := o.Dir.Resolve(pm); err == nil && res.Kind == directory.Unknown {
			warnings = append(warnings, fmt.Sprintf("%s: postmaster: %s is no mailbox, alias or group here, "+
				"so the first mailbox gets its mail; 'pillarbox admin mailbox add %[2]s' makes one",
				cfg.Origin("postmaster"), pm))
		}
	}
	warnings = append(warnings, o.lostRecipients(cfg)...)
	warnings = append(warnings, o.deadRoutes(cfg)...)
	return append(warnings, fileWarnings(cfg, o.serverAccount())...)
}

// lostRecipients returns warnings about recipients in the configuration that do not exist in a domain
// that is hosted here.
func (o *Service) lostRecipients(cfg *config.Config) (warnings []string) {
	type recipient struct {
		key  string
		to   addr.Address
		mail string // that is lost
	}
	all := []recipient{{"reports.copy_to", cfg.Reports.CopyTo, "no copy of a failure report arrives"}}
	for i, f := range cfg.Fetch {
		all = append(all, recipient{fmt.Sprintf("fetch[%d].deliver_to", i+1), f.DeliverTo, "no mail is collected for it"})
	}
	for _, r := range all {
		if r.to.IsZero() {
			continue
		}
		if res, err := o.Dir.Resolve(r.to); err == nil && res.Kind == directory.Unknown {
			warnings = append(warnings, fmt.Sprintf("%s: %s: %s is no mailbox, alias or group here, so %s; "+
				"'pillarbox admin mailbox add %[3]s' makes one", cfg.Origin(r.key), r.key, r.to, r.mail))
		}
	}
	return warnings
}

// deadRoutes returns warnings about routes of domains that are hosted here: their mail goes to the
// mailboxes. A route with unresolved takes the mail for other addresses of the domain.
func (o *Service) deadRoutes(cfg *config.Config) (warnings []string) {
	for i, r := range cfg.Routes.Routes {
		for _, pattern := range r.Domains {
			hosted, err := o.Dir.Hosts(addr.Domain(pattern))
			if err != nil || !hosted || r.Unresolved {
				continue
			}
			key := fmt.Sprintf("route[%d].domains", i+1)
			warnings = append(warnings, fmt.Sprintf("%s: %s: %s is hosted here, so no mail takes this route; "+
				"'unresolved = true' in it is for addresses that only the other server has",
				cfg.Origin(key), key, pattern))
		}
	}
	return warnings
}

// serverAccount returns the account of the server: the owner of the data directory.
func (o *Service) serverAccount() account {
	if fi, err := o.Root.Lstat("."); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return account{st.Uid, st.Gid}
		}
	}
	return currentAccount()
}

// fileWarnings returns warnings about files of the configuration that an account cannot read, and
// the configuration itself. Root often checks a configuration, and can read all files.
func fileWarnings(cfg *config.Config, server account) (warnings []string) {
	files := cfg.NamedFiles()
	if file := cfg.File(); file != "" {
		files = append([]config.NamedFile{{Path: file}}, files...)
	}
	told := map[string]bool{}
	for _, f := range files {
		why := server.cannotRead(f.Path)
		if why == "" || told[f.Path] {
			continue
		}
		told[f.Path] = true
		at := f.Path
		if f.Key != "" {
			at = cfg.Origin(f.Key) + ": " + f.Key
		}
		warnings = append(warnings, at+": "+why)
	}
	return warnings
}

// cannotRead says why the account cannot read a file, and what to type; "" if it can, or if the file
// cannot be examined.
func (a account) cannotRead(file string) string {
	var st syscall.Stat_t
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if syscall.Stat(dir, &st) == nil && !a.may(&st, mayEnter) {
			return fmt.Sprintf("%s cannot enter %s, which leads to %s; 'chmod o+x %[2]s'", a.name(), dir, file)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if syscall.Stat(file, &st) != nil || a.may(&st, mayRead) {
		return ""
	}
	if st.Uid == a.uid {
		return fmt.Sprintf("%s cannot read its file %s; 'chmod u+r %[2]s'", a.name(), file)
	}
	return fmt.Sprintf("%s cannot read %s, which belongs to %s with mode %03o; 'chown %s %[2]s'",
		a.name(), file, owner(&st), st.Mode&0o777, a.owners())
}
