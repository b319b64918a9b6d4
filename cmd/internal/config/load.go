package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"

	"pillarbox/mailstore/durable"
	"pillarbox/quota"
	"pillarbox/quota/quotamail"
	"pillarbox/smtp/policy"
)

// prefix begins the name of every variable of ours.
const prefix = "PILLARBOX_"

// pathVariable names the file itself; the command line reads it.
const pathVariable = prefix + "CONFIG"

// origin is the place at which a value is set.
type origin struct {
	file     string
	line     int
	variable string
}

func (o origin) String() string {
	if o.variable != "" {
		return "env " + o.variable
	}
	return fmt.Sprintf("%s:%d", o.file, o.line)
}

// short is the origin in the form of policy.Line and policy.Setting: with the base
// name of the file.
func (o origin) short() string {
	o.file = filepath.Base(o.file)
	return o.String()
}

// Option changes what Load checks.
type Option func(*loader)

// On lets Load check the lists of trusted hosts against the addresses of a machine.
func On(m Machine) Option { return func(l *loader) { l.machine = m } }

// Load reads the file at path and applies the variables of environ, which has the
// form of os.Environ: PILLARBOX_SMTP_MAX_ERRORS=20 overrides smtp.max_errors; commas
// separate the items of a list. Paths in both are relative to the folder of the file.
// The error is an [Errors] with every mistake; it wraps fs.ErrNotExist if the file
// does not exist.
func Load(path string, environ []string, options ...Option) (*Config, error) {
	data, err := durable.ReadSmallFile(path, durable.MaxSmall)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return Parse(path, data, environ, options...)
}

// DataOf returns the data directory that a file with mistakes names, if none of them can concern it.
func DataOf(path string, environ []string) (data string, ok bool) {
	text, err := durable.ReadSmallFile(path, durable.MaxSmall)
	if err != nil {
		return "", false
	}
	l, err := readAll(path, text, environ)
	if err != nil {
		return "", false
	}
	for _, p := range l.problems {
		if p.Key == "" || p.Key == "data" {
			return "", false
		}
	}
	return l.config.Data, filepath.IsAbs(l.config.Data)
}

// Parse is Load with the text that the file at path has or shall have.
func Parse(path string, data []byte, environ []string, options ...Option) (*Config, error) {
	l, err := readAll(path, data, environ, options...)
	if err != nil {
		return nil, err
	}
	if l.problems != nil {
		l.problems.sort()
		return nil, l.problems
	}
	return &l.config, nil
}

// readAll parses and checks a file. The loader has the mistakes.
func readAll(path string, data []byte, environ []string, options ...Option) (*loader, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // Notepad's
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, unreadable(path, err)
	}
	l := newLoader(path)
	for _, apply := range options {
		apply(l)
	}
	d := l.file(data)
	l.environment(environ)
	l.policyFile(folder)
	l.tables(d) // after the environment: a route inherits from [outbound]
	l.config.resolve(folder, filepath.Base(path))
	l.compile()
	l.check()
	return l, nil
}

// resolve makes every path absolute and sets the paths that depend on others.
func (c *Config) resolve(folder, file string) {
	for _, k := range c.keys() {
		if k.path == nil {
			continue
		}
		if p := k.path(c); *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(folder, *p)
		}
	}
	if c.Pickup.Dir == "" {
		c.Pickup.Dir = filepath.Join(c.Data, "pickup")
	}
	if c.Local.Socket == "" {
		c.Local.Socket = filepath.Join(c.Data, socketName)
		if filepath.Join(folder, file) == DefaultPath {
			c.Local.Socket = filepath.Join(runtimeFolder, socketName)
		}
	}
	if c.Operators.Socket == "" {
		c.Operators.Socket = filepath.Join(filepath.Dir(c.Local.Socket), operatorsSocketName)
	}
}

// The default of local.socket for the default file is in runtimeFolder: only the
// server's own account can enter the data directory.
const (
	socketName    = "submit.sock"
	runtimeFolder = "/run/pillarbox"
)

func unreadable(path string, err error) error {
	p := Problem{File: path, What: "cannot be read: " + err.Error(), Err: err}
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		p.What = "cannot be read: " + perr.Err.Error()
	}
	if errors.Is(err, fs.ErrNotExist) {
		p.Hint = `"pillarbox setup DOMAIN" writes one`
	}
	return Errors{p}
}

type loader struct {
	path     string
	keys     []key
	names    schema
	config   Config
	merged   *koanf.Koanf
	machine  Machine
	proposed *[]byte           // the text of the policy file; nil: as it is on the disk
	places   map[string]origin // by their short form
	problems Errors
}

func newLoader(path string) *loader {
	l := &loader{path: path, keys: keys(), merged: koanf.New("."), config: Default(), places: map[string]origin{}}
	l.names = newSchema(l.keys)
	return l
}

func (l *loader) problem(o origin, key, what, hint string) {
	p := Problem{File: o.file, Line: o.line, Key: key, What: what, Hint: hint}
	if o.variable != "" {
		p.File, p.Key = environment, o.variable
	}
	l.problems = append(l.problems, p)
}

// keyProblem reports a mistake at the place where the key is set.
func (l *loader) keyProblem(key, what, hint string) {
	l.problem(l.config.origin[key], key, what, hint)
}

// file sets all keys of the file outside the tables.
func (l *loader) file(data []byte) *document {
	d := readDocument(l.path, data, l.names)
	l.problems = append(l.problems, d.problems...)
	for _, name := range slices.Sorted(maps.Keys(d.values)) {
		if isGroup(name) {
			l.keys = append(l.keys, group(name))
		}
	}
	l.take(d, l.keys)
	return d
}

// tables adds the entries of the tables.
func (l *loader) tables(d *document) {
	for _, t := range tables() {
		for _, line := range d.entries[t.name] {
			section, keys := t.grow(&l.config)
			l.config.origin[section] = origin{file: l.path, line: line}
			l.keys = append(l.keys, keys...)
			l.take(d, keys)
		}
	}
	l.finishRoutes()
	l.finishFetches()
	l.finishDirectories()
}

// take sets the keys to their values in a file.
func (l *loader) take(d *document, keys []key) {
	layer := map[string]any{}
	for _, k := range keys {
		v, ok := d.values[k.name]
		if !ok {
			continue
		}
		o := origin{file: d.file, line: v.line}
		l.config.origin[k.name] = o
		switch {
		case v.kind != k.kind:
			l.problem(o, k.name, fmt.Sprintf("is %s, must be %s", v.kind, k.kind), "write "+l.example(k, v))
		case v.v != nil:
			layer[k.name] = v.v
		}
	}
	l.merge(confmap.Provider(layer, "."))
	for _, k := range keys {
		if _, ok := layer[k.name]; ok {
			l.set(k, func(item int) origin {
				v := d.values[k.name]
				if item < len(v.items) { // not if an empty list is the fault
					v.line = v.items[item]
				}
				return origin{file: d.file, line: v.line}
			})
		}
	}
}

// example suggests a value of the right kind for a wrong one.
func (l *loader) example(k key, v value) string {
	text, isText := v.v.(string)
	if _, err := strconv.Atoi(text); k.kind == numberKind && err == nil {
		return text + " without quotes"
	}
	if k.kind == listKind && isText {
		return quoteList([]string{text})
	}
	defaults := Default()
	for _, t := range tables() {
		for !k.exists(&defaults) && t.len(&defaults) < t.len(&l.config) {
			t.grow(&defaults)
		}
	}
	example := k.show(&defaults)
	if hint := k.hintFor(&defaults, v); hint != "" {
		return hint
	}
	switch example {
	case `""`, "[]":
	case "0":
		return "a whole number, such as 30"
	default:
		return example
	}
	return map[kind]string{textKind: `"…" in quotes`, listKind: `["…", "…"]`}[k.kind]
}

// hintFor returns what the key's own parser says to write, without "write"; "" if the key takes any
// text. A number is parsed as if it had quotes, so that the hint fits it.
func (k key) hintFor(scratch *Config, v value) string {
	if k.kind != textKind {
		return ""
	}
	text := "?"
	if n, ok := v.v.(int64); ok {
		text = strconv.FormatInt(n, 10)
	}
	for _, f := range k.set(scratch, text, func(int) string { return "" }) {
		if hint, ok := strings.CutPrefix(f.hint, "write "); ok {
			return hint
		}
	}
	return ""
}

// merge puts a layer on top of those before it. A layer is a map in memory, so
// loading it cannot fail.
func (l *loader) merge(p koanf.Provider) {
	if err := l.merged.Load(p, nil); err != nil {
		panic(err)
	}
}

// set stores a merged value in the config; at returns the origin of an item.
func (l *loader) set(k key, at func(item int) origin) {
	short := func(item int) string {
		o := at(item)
		l.places[o.short()] = o
		return o.short()
	}
	for _, f := range k.set(&l.config, l.merged.Get(k.name), short) {
		l.problem(at(f.item), k.name, f.what, f.hint)
	}
}

func (l *loader) environment(environ []string) {
	var given []key
	l.merge(env.Provider(".", env.Opt{
		Prefix:      prefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			k, v, ok := l.variable(name, text)
			if !ok {
				return "", nil
			}
			given = append(given, k)
			return k.name, v
		},
	}))
	for _, k := range given {
		o := origin{variable: k.variable()}
		l.config.origin[k.name] = o
		l.set(k, func(int) origin { return o })
	}
}

// variable finds the key of a variable and converts its text to the kind of the
// key. It reports false after a mistake and for variables that are not keys.
func (l *loader) variable(name, text string) (key, any, bool) {
	if name == pathVariable {
		return key{}, nil, false
	}
	o := origin{variable: name}
	if strings.HasPrefix(name, prefix+"GROUPS_") {
		l.problem(o, "", "no variable can set a group", "write the group into the file, or its entries into the list")
		return key{}, nil, false
	}
	for _, t := range tables() {
		if strings.HasPrefix(name, prefix+strings.ToUpper(t.name)+"_") {
			l.problem(o, "", "no variable can set [["+t.name+"]]", "write it into the file")
			return key{}, nil, false
		}
	}
	i := slices.IndexFunc(l.keys, func(k key) bool { return k.variable() == name })
	if i < 0 {
		l.problem(o, "", "unknown variable", l.suggestVariable(name))
		return key{}, nil, false
	}
	k := l.keys[i]
	switch k.kind {
	case listKind:
		return k, splitList(text), true
	case boolKind:
		if text != "true" && text != "false" {
			l.problem(o, "", fmt.Sprintf("%q is neither true nor false", text), "write one of the two")
			return key{}, nil, false
		}
		return k, text == "true", true
	case numberKind:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			l.problem(o, "", fmt.Sprintf("%q is not a whole number", text), "write one such as "+l.example(k, value{}))
			return key{}, nil, false
		}
		return k, n, true
	}
	return k, text, true
}

func (l *loader) suggestVariable(name string) string {
	var names []string
	for _, k := range l.keys {
		names = append(names, strings.ToLower(k.variable()))
	}
	if meant := nearest(name, names); meant != nil {
		return "did you mean " + strings.ToUpper(join(meant, "or")) + "?"
	}
	return "the names are those of the keys, as in " + prefix + "SMTP_MAX_ERRORS for smtp.max_errors"
}

func splitList(text string) []string {
	items := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// sound reports whether a key has no problem so far.
func (l *loader) sound(name string) bool {
	i := slices.IndexFunc(l.keys, func(k key) bool { return k.name == name })
	return !slices.ContainsFunc(l.problems, func(p Problem) bool {
		return p.Key == name || p.Key == l.keys[i].variable()
	})
}

// check checks keys that depend on each other. It skips a key that has a problem
// already.
func (l *loader) check() {
	c := &l.config
	if !c.set("hostname") && l.sound("hostname") {
		l.problem(origin{file: l.path}, "hostname", "is missing", `write the server's name, as in hostname = "mail.office.example"`)
	}
	l.checkTLS()
	l.checkLogIns()
	if l.sound("limits.connections") && l.sound("limits.connections_per_address") {
		l.checkPerAddress(&c.Limits)
	}
	if l.sound("smtp.max_session_size") && l.sound("smtp.max_message_size") {
		l.checkSessionSize(&c.SMTP)
	}
	if r := &c.Policy.Connections; r.Only.Value && r.Allow.Len() == 0 && l.sound("connections.allow") {
		l.keyWarning("connections.mode", "no host may connect: connections.allow is empty")
	}
	l.checkListen()
	l.checkMonitoring()
	l.checkSites()
	l.checkRoutes()
	l.checkFetches()
	l.checkDirectories()
	l.checkSystem()
	l.checkDNSBL()
	l.checkOpenRelay()
	if l.sound("mailboxes.notices") && l.sound("mailboxes.notice_templates") {
		l.checkNotices()
	}
}

// checkNotices reads the templates of the quota notices, so that a mistake is found
// before a mailbox is full.
func (l *loader) checkNotices() {
	const name = "mailboxes.notice_templates"
	err := l.config.Mailboxes.loadNotices()
	if err == nil {
		return
	}
	for what := range strings.SplitSeq(err.Error(), "\n") {
		l.keyProblem(name, what, `correct the template, or write "" for those that are built in`)
	}
}

func (m *Mailboxes) loadNotices() (err error) {
	m.Templates = quotamail.Templates{}
	if m.Notices != NoNotices {
		m.Templates, err = quotamail.Load(m.NoticeTemplates, quotamail.Language(m.Notices))
	}
	return err
}

func (l *loader) checkSessionSize(c *SMTP) {
	const name = "smtp.max_session_size"
	if c.MaxSessionSize > 0 && c.MaxSessionSize < c.MaxMessageSize {
		l.keyProblem(name, fmt.Sprintf("a connection may send %s, but one message %s", quota.FormatSize(c.MaxSessionSize), quota.FormatSize(c.MaxMessageSize)),
			"write at least smtp.max_message_size, or lower that")
	}
}

// checkSites reports demands that no client can meet, and those that contradict the
// service.
func (l *loader) checkSites() {
	c := &l.config.Sites
	smtp := func(name string, s *policy.Site, listen []string) {
		switch {
		case s.OfferAuth.Value:
		case s.RequireAuth.Value:
			l.keyProblem(name+".offer_auth", "the site requires a login and offers none",
				"set "+name+".require_auth = false, or "+name+".offer_auth = true")
		case !s.Anonymous.Value && len(listen) > 0 && !l.config.exemptsHosts():
			l.keyProblem(name+".offer_auth",
				"the site offers no login and takes no mail without one",
				"set "+name+".offer_auth = true, or "+name+".anonymous = true, "+
					"or name hosts in anonymous.exceptions")
		}
	}
	encrypted := func(name string, required bool) {
		if !required {
			l.keyProblem(name, "the service uses TLS from the start", "take the line out, or turn the service off in [listen]")
		}
	}
	smtp("sites.smtp", &c.SMTP, l.config.Listen.SMTP)
	smtp("sites.submission", &c.Submission, l.config.Listen.Submission)
	smtp("sites.smtps", &c.SMTPS, l.config.Listen.SMTPS)
	encrypted("sites.smtps.require_tls", c.SMTPS.RequireTLS.Value)
	encrypted("sites.pop3s.require_tls", c.POP3S.RequireTLS)
}

// exemptsHosts reports whether some hosts may send without a login where others may not.
func (c *Config) exemptsHosts() bool {
	exempt := &c.Policy.Anonymous
	return exempt.AllowExceptions.Value && exempt.Exceptions.Len() > 0
}

func (l *loader) checkPair(name, path, other, otherPath string) {
	if path != "" && otherPath == "" {
		l.keyProblem(name, "is set but "+other+" is not", "name both files, or neither for the server's own CA")
	}
}

// checkPerAddress lowers the limit for one address to the limit for all, and reports
// one that is set to more.
func (l *loader) checkPerAddress(c *Limits) {
	const name = "limits.connections_per_address"
	if c.ConnectionsPerAddress <= c.Connections {
		return
	}
	if l.config.set(name) {
		l.keyProblem(name, fmt.Sprintf("one address may have %d connections, but all together only %d",
			c.ConnectionsPerAddress, c.Connections), "write at most limits.connections")
		return
	}
	c.ConnectionsPerAddress = c.Connections
}

// checkListen reports addresses that cannot both be listened on.
func (l *loader) checkListen() {
	type use struct{ key, address string }
	var before []use
	c := &l.config.Listen
	for _, service := range []struct {
		key       string
		addresses []string
	}{
		{"listen.smtp", c.SMTP}, {"listen.submission", c.Submission}, {"listen.smtps", c.SMTPS},
		{"listen.pop3", c.POP3}, {"listen.pop3s", c.POP3S}, {"listen.odmr", c.ODMR},
		{"listen.web", c.Web}, {"listen.metrics", c.Metrics},
	} {
		if !l.sound(service.key) {
			continue
		}
		for _, a := range service.addresses {
			now := use{service.key, a}
			for _, b := range before {
				if !collide(a, b.address) {
					continue
				}
				blame, other := now, b
				if !l.config.set(now.key) { // blame the key that is set
					blame, other = b, now
				}
				l.keyProblem(blame.key, fmt.Sprintf("%q takes the same port as %q of %s", blame.address, other.address, other.key), "give each its own port")
				break
			}
			before = append(before, now)
		}
	}
}

// collide reports whether two addresses cannot both be listened on. Port 0 is
// a different port each time.
func collide(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	numberA, _ := strconv.Atoi(portA)
	numberB, _ := strconv.Atoi(portB)
	if numberA != numberB || numberA == 0 {
		return false
	}
	return hostA == hostB || isEverywhere(hostA) || isEverywhere(hostB)
}

func isEverywhere(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}
