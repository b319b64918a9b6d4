// Package setup installs a working server: configuration, certificate, domain and mailboxes. A
// second run keeps everything that exists and makes only what is missing.
package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/tls/certs"
)

// Request is the server that the administrator wants.
type Request struct {
	Domain     addr.Domain
	Hostname   addr.Domain    // "": that of an existing file, otherwise mail.DOMAIN
	Mailboxes  []addr.Address // in Domain
	RootMail   addr.Address   // gets the mail for root@Domain; zero: the first of Mailboxes
	ConfigFile string
	Data       string      // "": /var/lib/pillarbox for the default file, otherwise data beside the file
	PortOffset int         // 0: no request
	Web        Web         // "": WebOff
	Like       config.Like // whose defaults a new configuration has; "": Pillarbox's own
	Interfaces []netinfo.Interface
	Actor      admin.Actor // for the audit log
}

// Step is one thing that was made or kept.
type Step struct {
	What string `json:"what"`
	Done string `json:"done"` // "made", "kept", or "would make" in a dry run
}

// Result is the outcome of a setup.
type Result struct {
	Config *config.Config
	Steps  []Step
	Notes  []string // for the administrator to check
	Text   []byte   // of a new configuration file; nil if the file existed
}

// Password returns the password of a new mailbox. It is called for every mailbox of the request, in
// order, even for those that exist: each call may consume a line of input.
type Password func(box addr.Address, exists bool) (string, error)

// run is one setup in progress.
type run struct {
	Request
	dry    bool
	result Result
}

// Run installs the requested server. With dry it only returns the steps.
func Run(req Request, password Password, dry bool) (*Result, error) {
	r := &run{Request: req, dry: dry}
	if err := r.check(); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		r.config, r.data, r.certificate, func() error { return r.directory(password) }, r.owners, r.ports,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &r.result, nil
}

// check refuses a request that would fail half-way.
func (r *run) check() error {
	if err := addr.CheckDomainName(r.Domain); err != nil {
		return fmt.Errorf("domain %s: %w", r.Domain, err)
	}
	if r.Hostname.IsLiteral() {
		return admin.Hint(fmt.Errorf("--hostname %s is an address", r.Hostname),
			"give a name, such as mail.%s", r.Domain)
	}
	most := 65535 - 995
	if r.Web == WebLAN || r.Web == WebLocal {
		most = 65535 - otherWebPort
	}
	if r.PortOffset < 0 || r.PortOffset > most {
		return fmt.Errorf("--port-offset %d is not between 0 and %d", r.PortOffset, most)
	}
	for _, box := range r.Mailboxes {
		if err := addr.CheckMailboxName(box.Fold().Local); err != nil {
			return fmt.Errorf("--mailbox %s: %w", box.Local, err)
		}
		if note := admin.ASCIINote(box.Fold()); note != "" {
			r.note("%s", note)
		}
	}
	return r.CheckRootMail()
}

// CheckRootMail returns an error if the recipient of root's mail is an address of a domain hosted
// here that neither exists nor is one of the new mailboxes.
func (r *Request) CheckRootMail() error {
	to := r.RootMail.Fold()
	if to.IsZero() || slices.ContainsFunc(r.Mailboxes, func(box addr.Address) bool { return box.Fold() == to }) {
		return nil
	}
	kind := directory.Remote
	if to.Domain == r.Domain {
		kind = directory.Unknown
	}
	root, err := durable.Open(r.dataNow())
	if errors.Is(err, fs.ErrPermission) {
		return nil // a later step says so
	}
	if err == nil {
		defer root.Close()
		res, err := directory.New(root, directory.Options{}).Resolve(to)
		if err != nil {
			return fmt.Errorf("the recipient of root's mail: %w", err)
		}
		if res.Kind != directory.Remote {
			kind = res.Kind
		}
	}
	if kind != directory.Unknown {
		return nil
	}
	return admin.Hint(fmt.Errorf("the recipient of root's mail: there is no mailbox %s", to),
		"'--mailbox %s' makes it; or name another mailbox", to.Local)
}

// dataNow returns the data directory, before the configuration is made.
func (r *Request) dataNow() string {
	if cfg, err := config.Load(r.ConfigFile, os.Environ(), config.On(config.ThisMachine())); err == nil {
		return cfg.Data
	}
	return cmp.Or(r.Data, r.defaultData())
}

func (r *run) step(done, what string, args ...any) {
	if done == "made" && r.dry {
		done = "would make"
	}
	r.result.Steps = append(r.result.Steps, Step{fmt.Sprintf(what, args...), done})
}

func (r *run) note(text string, args ...any) {
	r.result.Notes = append(r.result.Notes, fmt.Sprintf(text, args...))
}

// config reads the configuration file, or writes a new one.
func (r *run) config() error {
	cfg, err := config.Load(r.ConfigFile, os.Environ(), config.On(config.ThisMachine()))
	switch {
	case err == nil:
		r.step("kept", "configuration %s", r.ConfigFile)
		r.compare(cfg)
	case errors.Is(err, fs.ErrNotExist):
		if cfg, err = r.writeConfig(); err != nil {
			return err
		}
		r.step("made", "configuration %s", r.ConfigFile)
	default:
		return fmt.Errorf("the configuration exists and has mistakes:\n%w", err)
	}
	r.result.Config = cfg
	return nil
}

// compare notes where the request differs from the file that is kept.
func (r *run) compare(cfg *config.Config) {
	if r.Hostname != "" && cfg.Hostname != r.Hostname {
		r.note("the configuration says hostname = %q; change it in that file", cfg.Hostname)
	}
	if r.Data != "" {
		if abs, err := filepath.Abs(r.Data); err == nil && abs != cfg.Data {
			r.note("the configuration says data = %q; --data was not used", cfg.Data)
		}
	}
	if r.Like != "" {
		r.note("the configuration exists; --like %s was not used", r.Like)
	}
	if listen := cfg.Listen; r.PortOffset != 0 && !samePorts(listen, offset(config.Default().Listen, r.PortOffset)) {
		r.note("the configuration says smtp = %q, pop3 = %q and so on; --port-offset %d was not used; "+
			"change [listen] in that file", listen.SMTP, listen.POP3, r.PortOffset)
	}
	r.compareWeb(cfg)
	for _, lan := range netinfo.LANs(r.Interfaces) {
		if !slices.ContainsFunc(cfg.Auth.PlaintextNetworks, func(known netip.Prefix) bool {
			return known.Bits() <= lan.Bits() && known.Contains(lan.Addr())
		}) {
			r.note("this machine is in the network %s, and auth.plaintext_networks does not name it: "+
				"a login from there needs TLS; to permit it without, add %q to the list in that file "+
				"and run 'pillarbox admin reload'", lan, lan)
		}
	}
}

// samePorts compares the addresses that the port offset moves.
func samePorts(a, b config.Listen) bool {
	return slices.Equal(a.SMTP, b.SMTP) && slices.Equal(a.Submission, b.Submission) &&
		slices.Equal(a.SMTPS, b.SMTPS) && slices.Equal(a.POP3, b.POP3) && slices.Equal(a.POP3S, b.POP3S)
}

func (r *run) writeConfig() (*config.Config, error) {
	file, err := filepath.Abs(r.ConfigFile)
	if err != nil {
		return nil, err
	}
	data, err := r.dataSetting(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	values := config.SampleValues{
		Hostname: cmp.Or(r.Hostname, "mail."+r.Domain), Data: data, DefaultDomain: r.Domain,
		Listen:            offset(config.Default().Listen, r.PortOffset),
		PlaintextNetworks: netinfo.LANs(r.Interfaces),
		Like:              r.Like,
	}
	values.Listen.Web = webAddresses(r.Web, r.PortOffset, isFree)
	r.noteWeb(values.Listen.Web)
	if len(r.Mailboxes) > 0 {
		values.Postmaster = r.Mailboxes[0]
	}
	text := config.Render(values)
	r.result.Text = text
	if cfg, err := r.readBack(text); r.dry || err != nil {
		return cfg, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	root, err := durable.Open(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := durable.WriteFile(root, filepath.Base(file), text, 0o644); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", r.ConfigFile, err)
	}
	return config.Load(file, os.Environ(), config.On(config.ThisMachine()))
}

// readBack loads a configuration before it is written: a file that does not load would block the next
// attempt. A dry run uses this configuration.
func (r *run) readBack(text []byte) (*config.Config, error) {
	dir, err := os.MkdirTemp("", "pillarbox-setup-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, filepath.Base(r.ConfigFile))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	cfg, err := config.Load(file, os.Environ(), config.On(config.ThisMachine()))
	if problems, ok := errors.AsType[config.Errors](err); ok {
		for i := range problems { // the temporary file is gone when the user reads this
			problems[i].File, problems[i].Line = r.ConfigFile, 0
		}
		return nil, problems
	}
	if err == nil {
		cfg.Data, err = filepath.Abs(cmp.Or(r.Data, r.defaultData()))
	}
	return cfg, err
}

func (r *Request) defaultData() string {
	if r.ConfigFile == config.DefaultPath {
		return "/var/lib/pillarbox"
	}
	return filepath.Join(filepath.Dir(r.ConfigFile), "data")
}

// dataSetting is the data directory as written into the file: relative if it is below the folder of
// the file, so that both can be moved together.
func (r *run) dataSetting(folder string) (string, error) {
	data, err := filepath.Abs(cmp.Or(r.Data, r.defaultData()))
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(folder, data); err == nil && filepath.IsLocal(rel) {
		return rel, nil
	}
	return data, nil
}

func offset(l config.Listen, n int) config.Listen {
	for _, list := range []*[]string{&l.SMTP, &l.Submission, &l.SMTPS, &l.POP3, &l.POP3S} {
		moved := slices.Clone(*list)
		for i, a := range moved {
			var port int
			fmt.Sscanf(a, ":%d", &port)
			moved[i] = ":" + strconv.Itoa(port+n)
		}
		*list = moved
	}
	return l
}

// data makes the data directory. If root runs the setup and the account "pillarbox" exists, that
// account gets the directory. Files inside get the owner of the directory.
func (r *run) data() error {
	dir := r.result.Config.Data
	if _, err := os.Stat(dir); err == nil {
		r.step("kept", "data directory %s", dir)
		return nil
	}
	r.step("made", "data directory %s", dir)
	if r.dry {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	account, err := user.Lookup("pillarbox")
	if err != nil || os.Getuid() != 0 {
		return nil
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	return os.Chown(dir, uid, gid)
}

// certificate makes the CA and the server's certificate for all names and addresses of this machine.
func (r *run) certificate() error {
	cfg := r.result.Config
	if cfg.TLS.Cert != "" {
		r.step("kept", "certificate %s", cfg.TLS.Cert)
		return nil
	}
	names, ips := netinfo.Names(cfg.Hostname, r.Domain), netinfo.Addresses(r.Interfaces)
	certificate := fmt.Sprintf("certificate for %s %v", strings.Join(names, ", "), ips)
	ensure := certs.Ensure
	if r.dry {
		ensure = certs.Missing
	}
	made, err := ensure(cfg.Certs().Dir, names, ips, time.Now())
	switch {
	case err != nil:
		return err
	case made.CA:
		r.step("made", "private CA and %s", certificate)
	case made.Server:
		r.step("kept", "private CA")
		r.step("made", "%s", certificate)
	default:
		r.step("kept", "private CA and %s", certificate)
	}
	return nil
}

// directory makes the domain and the mailboxes.
func (r *run) directory(password Password) error {
	root, err := durable.Open(r.result.Config.Data)
	if r.dry && errors.Is(err, fs.ErrNotExist) {
		return r.allMissing()
	} else if err != nil {
		return err
	}
	defer root.Close()
	recorder := admin.NewRecorder(root, r.Actor, func(err error) { r.note("%v", err) })
	dir := directory.New(root, directory.Options{}).Observed(recorder.Changed)
	hosted, err := dir.Hosts(r.Domain)
	if err != nil {
		return err
	}
	switch {
	case hosted:
		r.step("kept", "domain %s", r.Domain)
	case r.dry:
		return r.allMissing()
	default:
		if err := dir.AddDomain(r.Domain); err != nil {
			return err
		}
		r.step("made", "domain %s", r.Domain)
	}
	keeper := admin.NewKeeper(r.result.Config)
	for _, box := range r.Mailboxes {
		if err := r.mailbox(dir, keeper, box.Fold(), password); err != nil {
			return err
		}
	}
	return r.rootMail(dir)
}

// rootMail makes an alias for the mail of the machine's own programs: cron sends to "root", which
// is root@ the default domain.
func (r *run) rootMail(dir *directory.Directory) error {
	root := addr.Address{Local: "root", Domain: r.Domain}
	if d := r.result.Config.DefaultDomain; d != "" && d != r.Domain {
		if !r.RootMail.IsZero() {
			r.note("--root-mail %s was not used: the mail for root goes to root@%s", r.RootMail, d)
		}
		return nil
	}
	switch res, err := dir.Resolve(root); {
	case err != nil:
		return err
	case res.Kind != directory.Unknown || len(res.Mailboxes)+len(res.Forward) > 0:
		r.compareRootMail(root, res)
		return nil
	}
	to := r.RootMail
	if to.IsZero() && len(r.Mailboxes) > 0 {
		to = r.Mailboxes[0].Fold()
	}
	if to.IsZero() {
		r.note("mail for %s, such as that of cron, has no recipient; "+
			"'pillarbox admin alias add %[1]s NAME@%[2]s' names one", root, r.Domain)
		return nil
	}
	if !r.dry {
		if err := dir.AddAlias(root, to); err != nil {
			return fmt.Errorf("the recipient of root's mail: %w", err)
		}
	}
	r.rootAlias(root, to, dir)
	return nil
}

// rootAlias tells that root's mail goes to an address. dir is nil if no domain exists yet.
func (r *run) rootAlias(root, to addr.Address, dir *directory.Directory) {
	r.step("made", "alias %s for %s, for the mail of cron and other programs", root, to)
	hosted := to.Domain == r.Domain
	if dir != nil && !hosted {
		hosted, _ = dir.Hosts(to.Domain)
	}
	if !hosted {
		r.note("%s", admin.RemoteTarget(to.Domain))
	}
}

// compareRootMail notes a requested recipient of root's mail that is not the present one.
func (r *run) compareRootMail(root addr.Address, now directory.Resolution) {
	to, ends := r.RootMail.Fold(), slices.Clone(now.Forward)
	for _, box := range now.Mailboxes {
		ends = append(ends, box.Address)
	}
	if to.IsZero() || len(ends) == 1 && ends[0].Fold() == to {
		return
	}
	r.note("the mail for %s has a recipient already; --root-mail %s was not used; "+
		"'pillarbox admin alias remove %[1]s' and then 'pillarbox admin alias add %[1]s %[2]s' change it", root, to)
}

// allMissing records the steps of a dry run without a domain.
func (r *run) allMissing() error {
	r.step("made", "domain %s", r.Domain)
	for _, box := range r.Mailboxes {
		r.step("made", "mailbox %s", box.Fold())
	}
	if d := r.result.Config.DefaultDomain; !r.RootMail.IsZero() && (d == "" || d == r.Domain) {
		r.rootAlias(addr.Address{Local: "root", Domain: r.Domain}, r.RootMail.Fold(), nil)
	}
	return nil
}

func (r *run) mailbox(dir *directory.Directory, keeper *auth.SecretStore, box addr.Address, password Password) error {
	_, err := dir.Mailbox(box)
	exists := err == nil
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return err
	}
	if exists {
		r.step("kept", "mailbox %s", box)
	}
	if r.dry {
		if !exists {
			r.step("made", "mailbox %s", box)
		}
		return nil
	}
	secret, err := password(box, exists)
	if err != nil || exists {
		return err
	}
	var account directory.Account
	set, err := keeper.New(box, account, secret, time.Now())
	if err == nil {
		err = set(&account)
	}
	if err != nil {
		return fmt.Errorf("password of %s: %w", box, err)
	}
	if _, err := dir.AddMailbox(box, account); err != nil {
		return err
	}
	r.step("made", "mailbox %s", box)
	return nil
}

// ports checks that the server can listen. A server that runs on this data directory holds its own
// ports.
func (r *run) ports() error {
	l := r.result.Config.Listen
	if r.running() {
		r.note("the server is running and uses the new domain and mailboxes at once")
		return nil
	}
	for _, address := range slices.Concat(l.SMTP, l.Submission, l.SMTPS, l.POP3, l.POP3S) {
		listener, err := netinfo.Listen(address)
		if err == nil {
			listener.Close()
		} else if note := portNote(err); note != "" {
			r.note("%s", note)
		}
	}
	for _, address := range l.Web {
		if !isFree(address) {
			r.note("address %s is in use by another process; the page for browsers is not served "+
				"until it is free", address)
		}
	}
	return nil
}

// portNote says that the server cannot listen on an address; "" if only this user may not, because
// the server has another account.
func portNote(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return ""
	}
	if _, busy := errors.AsType[*netinfo.PortError](err); busy {
		return fmt.Sprintf("%v; the server cannot start until the address is free", err)
	}
	return fmt.Sprintf("%v; the server cannot start with this address in [listen]", err)
}

// owners notes files that the server's account cannot use, such as those that root has copied.
func (r *run) owners() error {
	office, err := admin.Open(r.result.Config, nil)
	if r.dry && errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer office.Close()
	for _, f := range office.OwnerFindings(context.Background()) {
		r.note("%s; %s", f.Text, f.Hint)
	}
	for _, warning := range office.SettingWarnings() {
		r.note("%s", warning)
	}
	return nil
}

// running reports whether a server holds the data directory.
func (r *run) running() bool {
	root, err := durable.Open(r.result.Config.Data)
	if err != nil {
		return false
	}
	defer root.Close()
	if _, err := root.Lstat("lock"); err != nil {
		return false // a dry run must not create the file
	}
	unlock, err := durable.TryLockAs(root, "lock", "admin")
	if err == nil {
		unlock()
	}
	return errors.Is(err, durable.ErrLocked)
}
