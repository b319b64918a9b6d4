package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
	"pillarbox/tls/certs"
)

// Problem is a kind of Finding.
type Problem string

// The values of Problem. Those of mailstore.FaultKind are among them.
const (
	ProblemAccount  Problem = "account"  // account.json cannot be read
	ProblemDomain   Problem = "domain"   // domain.json cannot be read
	ProblemSettings Problem = "settings" // another settings file in the data directory cannot be read
	ProblemMailbox  Problem = "mailbox"  // the mailbox cannot be listed
	ProblemLeftover Problem = "leftover" // a temporary file of an interrupted change
	ProblemName     Problem = "name"     // an entry that looks like a mailbox but is none
	ProblemStranger Problem = "stranger" // a file in a mailbox that does not belong there
	ProblemQuota    Problem = "quota"    // the mailbox is over its quota
	ProblemLedger   Problem = "ledger"   // the count of the running server was wrong
	ProblemProgram  Problem = "program"  // the check panicked: a bug in this program
	// More are in check_places.go.
)

// Finding is one problem, or one note, of CheckMail.
type Finding struct {
	Where    string  `json:"where"` // the mailbox or the domain
	Problem  Problem `json:"problem"`
	File     string  `json:"file,omitempty"` // below the data directory
	Text     string  `json:"text"`
	Hint     string  `json:"hint"`
	Note     bool    `json:"note"`     // information only: no problem
	Repaired bool    `json:"repaired"` // the check has repaired the problem
}

// wrong reports whether the problem still exists.
func (f Finding) wrong() bool { return !f.Note && !f.Repaired }

// CheckOptions are the options of CheckMail. The zero value checks without a repair.
type CheckOptions struct {
	// Repair removes old temporary files, and renames messages whose name and content differ.
	Repair bool
	// Ledger is the result of a recount by the running server; nil if no server runs.
	Ledger []quota.Recount
	// Progress, if set, is called after each mailbox, by one goroutine at a time.
	Progress func(done, all int)
}

// CheckReport is the result of CheckMail.
type CheckReport struct {
	Domains   int       `json:"domains"`
	Mailboxes int       `json:"mailboxes"`
	Messages  int       `json:"messages"`
	Bytes     int64     `json:"bytes"`  // of Messages, as POP3 counts them
	Queued    int       `json:"queued"` // messages in the queue; 0 unless everything is checked
	Findings  []Finding `json:"findings"`
	Wrong     int       `json:"wrong"` // number of findings that are neither notes nor repaired
}

const (
	// leftoverAge is the age from which a temporary file counts as abandoned.
	leftoverAge = time.Hour
	// checkWorkers is the number of mailboxes that are read at the same time.
	checkWorkers = 4
)

// CheckMail reads all messages of a mailbox or a domain and the files beside them, and reports what
// is wrong. The target "" means the whole data directory, with queue, quarantine, badmail, pickup
// folder and log. CheckMail changes files only if opts.Repair is set.
func (o *Service) CheckMail(ctx context.Context, target string, opts CheckOptions) (CheckReport, error) {
	if err := o.RequireTarget(target, opts.Repair); err != nil {
		return CheckReport{}, err
	}
	c := &checker{office: o, CheckOptions: opts, now: time.Now()}
	if err := c.choose(target); err != nil {
		return CheckReport{}, err
	}
	for _, d := range c.domains {
		c.contain(string(d), func() { c.domain(d) })
	}
	if target == "" {
		c.places(ctx)
		c.contain("data directory", c.settings)
		c.contain("data directory", c.certificate)
	}
	c.contain("data directory", func() { c.owners(ctx, c.parts(target)) })
	c.mailboxes(ctx)
	c.ledger()
	c.report.Domains = len(c.domains)
	c.report.Findings = orEmpty(c.report.Findings)
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int { return strings.Compare(a.Where, b.Where) })
	for _, f := range c.report.Findings {
		if f.wrong() {
			c.report.Wrong++
		}
	}
	if opts.Repair {
		o.recordRepairs(target, c.report.Findings)
	}
	return c.report, context.Cause(ctx)
}

// parts returns the directories whose owners and modes are checked, with everything below them.
func (c *checker) parts(target string) (dirs []string) {
	if target == "" {
		return []string{"."}
	}
	for _, d := range c.domains {
		dirs = append(dirs, directory.DomainDir(d))
	}
	if dirs == nil {
		for _, b := range c.boxes {
			dirs = append(dirs, b.dir)
		}
	}
	return dirs
}

// CheckOrder says what to check: a mailbox, a domain or, for "", all mail.
type CheckOrder struct {
	Target string
	Repair bool // see CheckOptions
}

// check checks mail, and what a running server believes of the mailboxes.
func (o *Service) check(ctx context.Context, in CheckOrder) (CheckReport, error) {
	if err := o.RequireTarget(in.Target, in.Repair); err != nil {
		return CheckReport{}, err
	}
	if err := (&checker{office: o}).choose(in.Target); err != nil {
		return CheckReport{}, err // nothing is counted for a typing error
	}
	opts := CheckOptions{Repair: in.Repair, Progress: o.progress()}
	count := o.CountAgain
	if count == nil {
		count = o.recount
	}
	var err error
	if opts.Ledger, err = count(); errors.Is(err, ErrNotRunning) {
		o.note("the server is not running, so its quota counts are not checked")
	} else if err != nil {
		o.note("the quota counts of the running server were not checked: %v", err)
	}
	return o.CheckMail(ctx, in.Target, opts)
}

// checker is one run of CheckMail.
type checker struct {
	office *Service
	CheckOptions
	now     time.Time
	domains []addr.Domain // those of which everything is checked
	boxes   []checkedBox

	// mu guards the fields below.
	mu     sync.Mutex
	done   int
	report CheckReport
}

// checkedBox is a mailbox. Its account.json may be missing or damaged.
type checkedBox struct {
	address addr.Address
	dir     string
}

// choose sets domains and boxes from the target of CheckMail.
func (c *checker) choose(target string) (err error) {
	if target != "" {
		d, isDomain, err := c.office.targetDomain(target, "quota list")
		if err != nil {
			return err
		}
		if !isDomain {
			return c.chooseMailbox(target)
		}
		c.domains = []addr.Domain{d}
	} else if c.domains, err = c.office.Dir.Domains(); err != nil {
		return c.office.explain(err, "", "domain list")
	}
	for _, d := range c.domains {
		dirs, err := c.office.Dir.MailboxDirs(d)
		if errors.Is(err, directory.ErrNotFound) {
			continue // removed since the listing
		}
		if err != nil {
			c.failed(string(d), ProblemDomain, c.office.explain(err, d, "domain list"), c.damageHint())
			continue
		}
		for _, dir := range dirs {
			a, _ := directory.AddressAt(dir) // valid: MailboxDirs lists no other names
			c.boxes = append(c.boxes, checkedBox{a, dir})
		}
	}
	return nil
}

func (c *checker) chooseMailbox(user string) error {
	a, err := c.office.ParseUser(user)
	if err != nil {
		return err
	}
	a = a.Fold()
	dirs, err := c.office.Dir.MailboxDirs(a.Domain)
	if err != nil {
		return c.office.explain(err, a.Domain, "domain list")
	}
	if dir := directory.MailboxDir(a); slices.Contains(dirs, dir) {
		c.boxes = []checkedBox{{a, dir}}
		return nil
	}
	return c.office.explain(fmt.Errorf("mailbox %s: %w", a, directory.ErrNotFound), a.Domain, "domain show "+string(a.Domain))
}

// found adds a finding to the report.
func (c *checker) found(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Findings = append(c.report.Findings, f)
}

// failed adds an error to the report. Its own hint, if any, replaces hint.
func (c *checker) failed(where string, p Problem, err error, hint string) {
	if hinted, ok := errors.AsType[*HintError](err); ok {
		hint = hinted.Hint
	}
	c.found(Finding{Where: where, Problem: p, Text: err.Error(), Hint: hint})
}

// certificate checks that the configured certificate is in use, and valid.
func (c *checker) certificate() {
	const hint = "put the files back and make them readable for the server; it takes them within a minute"
	m, err := OpenCertificate(c.office.Config())
	if errors.Is(err, certs.ErrBadFile) {
		c.found(Finding{Where: "data directory", Problem: ProblemCertificate, Text: err.Error(), Hint: hint})
	}
	if err != nil { // the server makes one at its start
		return
	}
	for _, warning := range m.Warnings(c.now) {
		f := Finding{Where: "data directory", Problem: ProblemCertificate, Text: warning, Hint: hint}
		if f.Note = m.Fault() == nil && c.now.Before(m.Info().NotAfter); f.Note {
			f.Hint = ""
		}
		c.found(f)
	}
}

// domain checks the files of a domain other than its mailboxes.
func (c *checker) domain(d addr.Domain) {
	_, err := c.office.Dir.Domain(d)
	if errors.Is(err, directory.ErrNotFound) {
		return
	}
	if err != nil {
		c.failed(string(d), ProblemDomain, c.office.explain(err, d, "domain list"), "check the disk for faults")
	}
	dir := directory.DomainDir(d)
	entries := c.leftovers(string(d), dir)
	for _, e := range entries {
		name := e.Name()
		looks := strings.HasPrefix(strings.ToLower(name), "p3_") && strings.HasSuffix(strings.ToLower(name), ".mbx")
		if !looks || slices.ContainsFunc(c.boxes, func(b checkedBox) bool { return b.dir == dir+"/"+name && b.address == b.address.Fold() }) {
			continue
		}
		c.found(Finding{Where: string(d), Problem: ProblemName, File: dir + "/" + name, Text: "looks like a mailbox, but the server does not use it",
			Hint: c.nameHint(d, e)})
	}
}

// nameHint returns the hint for an entry that looks like a mailbox. If another mailbox has the
// right name, the hint must not suggest to rename: that would replace the other's mail.
func (c *checker) nameHint(d addr.Domain, e fs.DirEntry) string {
	dir := directory.DomainDir(d)
	user := strings.ToLower(e.Name()[len("P3_") : len(e.Name())-len(".mbx")])
	small := path.Base(directory.MailboxDir(addr.Address{Local: user, Domain: d}))
	if !e.IsDir() || user == "" || small == e.Name() {
		return "a mailbox is a directory with a name such as P3_anna.mbx"
	}
	if _, err := c.office.Root.Lstat(dir + "/" + small); errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("the server renames it to %s when it starts, or at 'pillarbox admin reload'", small)
	}
	return fmt.Sprintf("%s is there too: 'pillarbox admin mailbox import %s@%s %s' copies the mail, then move this one away", small, user, d, filepath.Join(c.office.Root.Name(), dir, e.Name()))
}

// leftovers reports old temporary files in a directory, and returns all its entries.
func (c *checker) leftovers(where, dir string) []fs.DirEntry {
	entries, err := c.office.Root.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		c.failed(where, ProblemMailbox, fmt.Errorf("%s: %w", dir, err), c.damageHint())
		return nil
	}
	for _, e := range entries {
		if !durable.IsTemp(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		name := path.Join(dir, e.Name())
		fi, err := c.office.Root.Lstat(name)
		if err != nil || c.now.Sub(fi.ModTime()) < leftoverAge {
			continue
		}
		f := Finding{Where: where, Problem: ProblemLeftover, File: name, Text: "left by a change that was interrupted at " + fi.ModTime().UTC().Format(time.DateTime),
			Hint: "--repair removes it"}
		if c.Repair {
			err := c.office.Root.Remove(name)
			if err == nil {
				err = c.office.Root.SyncDir(dir)
			}
			f = repaired(f, "removed", err)
		}
		c.found(f)
	}
	return entries
}

// incoming reports the files of abandoned imports.
func (c *checker) incoming() {
	const dir, age = "incoming", 24 * time.Hour
	names, _ := c.office.Root.ReadNames(dir)
	for _, name := range names {
		fi, err := c.office.Root.Lstat(dir + "/" + name)
		if err != nil || c.now.Sub(fi.ModTime()) < age {
			continue
		}
		c.found(Finding{Where: "data directory", Problem: ProblemLeftover, Note: true, File: dir + "/" + name,
			Text: "left by an import that was interrupted", Hint: "the next start of the server removes it"})
	}
}

// repaired returns the finding with the result of its repair.
func repaired(f Finding, how string, err error) Finding {
	if err != nil {
		f.Hint = fmt.Sprintf("the repair failed: %v", err)
		return f
	}
	f.Repaired, f.Hint = true, how
	return f
}

func (c *checker) damageHint() string {
	return fmt.Sprintf("check the disk for faults, and the owners of the files below %s", c.office.Root.Name())
}

// contain runs one part of the check. A panic in it becomes a finding, and the check continues.
func (c *checker) contain(where string, part func()) {
	err := caught.Do(func() error { part(); return nil })
	if err == nil {
		return
	}
	caught.Log(c.office.log, err, "a part of the check panicked; the check continues", "where", where)
	c.found(Finding{Where: where, Problem: ProblemProgram, Text: "the check of this part failed: " + err.Error(),
		Hint: "this is a bug in Pillarbox: report it to its makers, with the lines of the log"})
}

// mailboxes checks all mailboxes, checkWorkers at a time.
func (c *checker) mailboxes(ctx context.Context) {
	next := make(chan checkedBox)
	var workers sync.WaitGroup
	for range min(checkWorkers, len(c.boxes)) {
		workers.Go(func() {
			for box := range next {
				c.contain(box.address.String(), func() { c.mailbox(box) })
			}
		})
	}
	for _, box := range c.boxes {
		if ctx.Err() != nil {
			break
		}
		next <- box
	}
	close(next)
	workers.Wait()
}

// mailbox checks one mailbox and adds it to the report.
func (c *checker) mailbox(b checkedBox) {
	held, err := c.office.Store.Faults(b.dir, func(f mailstore.Fault) { c.found(c.fault(b, f)) })
	if errors.Is(err, mailstore.ErrNoMailbox) {
		if _, statErr := c.office.Root.Lstat(b.dir); errors.Is(statErr, fs.ErrNotExist) {
			return // removed since the listing
		}
	}
	where := b.address.String()
	if err != nil {
		c.failed(where, ProblemMailbox, err, c.damageHint())
	} else {
		c.account(b)
		c.strangers(where, b.dir)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Mailboxes++
	c.report.Messages += held.Messages
	c.report.Bytes += held.Bytes
	if c.done++; c.Progress != nil {
		c.Progress(c.done, len(c.boxes))
	}
}

// account checks the account of a mailbox, and compares its use with its quota.
func (c *checker) account(b checkedBox) {
	box, err := c.office.Dir.Mailbox(b.address)
	if errors.Is(err, directory.ErrDamaged) {
		if _, inDomain := c.office.Dir.Domain(b.address.Domain); inDomain != nil && inDomain.Error() == err.Error() {
			return // domain has reported it
		}
	}
	if errors.Is(err, directory.ErrNotFound) {
		return
	}
	if err != nil {
		c.failed(b.address.String(), ProblemAccount, c.office.explain(err, b.address.Domain, "mailbox list"), c.damageHint())
		return
	}
	used, err := c.office.usage(b.dir)
	if err != nil {
		return // mailbox has reported it
	}
	limits := c.office.limitsOf(box)
	room := ""
	if limits.Bytes > 0 && used.Bytes > limits.Bytes {
		room += sizeFlag(used.Bytes)
	}
	if limits.Messages > 0 && used.Messages > limits.Messages {
		room += messagesFlag(used.Messages + 1)
	}
	if room != "" {
		c.found(Finding{Where: b.address.String(), Problem: ProblemQuota, Note: true,
			Text: fmt.Sprintf("holds %s in %s, more than its quota", quota.Approximate(used.Bytes, limits.Bytes), quota.FormatMessages(used.Messages)),
			Hint: fmt.Sprintf("it gets no new mail until messages are deleted; 'pillarbox admin quota set %s%s' raises its quota", b.address, room)})
	}
}

// ownFiles are the files of a mailbox other than messages.
var ownFiles = []string{"account.json", "fetched", importLock}

// strangersDeleted reports files among the deleted mail that cannot be restored.
func (c *checker) strangersDeleted(where, dir string) {
	for _, e := range c.leftovers(where, dir) {
		if e.Type().IsRegular() && mailstore.IsDeletedFile(e.Name()) {
			continue
		}
		c.found(Finding{Where: where, Problem: ProblemStranger, Note: true, File: dir + "/" + e.Name(), Text: "is not a deleted message",
			Hint: "move it away, or, if it is a message, move it into the mailbox with a name that ends in .eml"})
	}
}

// strangers reports files in a mailbox that do not belong there.
func (c *checker) strangers(where, dir string) {
	for _, e := range c.leftovers(where, dir) {
		name := e.Name()
		regular := e.Type().IsRegular()
		switch {
		case regular && (mailstore.IsMessageFile(name) || slices.Contains(ownFiles, name) || durable.IsTemp(name)):
			continue
		case e.IsDir() && name == mailstore.DeletedDir:
			c.strangersDeleted(where, dir+"/"+name)
		case mailstore.IsMessageFile(name):
			c.found(Finding{Where: where, Problem: ProblemStranger, Note: true, File: dir + "/" + name, Text: "has the name of a message but is not a regular file",
				Hint: "it is not served; replace it by the file itself"})
		default:
			c.found(Finding{Where: where, Problem: ProblemStranger, Note: true, File: dir + "/" + name, Text: "is not a message and does not belong to the mailbox",
				Hint: "move it away, or, if it is a message, give it a name that ends in .eml"})
		}
	}
}

// fault returns the finding for a fault of a message. With Repair it also repairs the fault if a
// new name is enough.
func (c *checker) fault(b checkedBox, fault mailstore.Fault) Finding {
	var lost string
	f := Finding{Where: b.address.String(), Problem: Problem(fault.Kind), File: b.dir + "/" + fault.File, Text: strings.TrimPrefix(fault.Err.Error(), b.dir+"/"+fault.File+": ")}
	switch fault.Kind {
	case mailstore.FaultDuplicate:
		f.Text = strings.TrimPrefix(f.Text, b.dir+": ")
		f.Hint = "one of the two is served under another unique-id; delete it if they are the same message"
		return f
	case mailstore.FaultZeros:
		f.Text, f.Hint = zerosText(fault.Zeros), "restore it from a backup, or delete it"
		return f
	case mailstore.FaultUnreadable:
		f.Hint = "check the owner and mode of the file, and the disk for faults; or restore it from a backup"
		return f
	case mailstore.FaultSize:
		_, f.Text, _ = strings.Cut(f.Text, mailstore.ErrDamaged.Error()+": ")
		f.Text, _, _ = strings.Cut(f.Text, ";")
		lost = c.lost(f.File)
		f.Text += lost
		f.Hint = "it was truncated or changed: restore it from a backup; or use --repair, which renames it, to serve it as it is"
	default:
		_, f.Text, _ = strings.Cut(f.Text, mailstore.ErrDamaged.Error()+": ")
		f.Hint = "--repair renames it"
	}
	if c.Repair {
		renamed, err := c.office.Store.Rename(b.dir, fault.File)
		f = repaired(f, "renamed to "+renamed+lost, err)
	}
	return f
}

// lost describes the difference between the size of a message's file and the size in its name. A
// repair must keep this text, because the new name no longer has the old size.
func (c *checker) lost(file string) string {
	_, size, _ := mailstore.ParseID(path.Base(file))
	fi, err := c.office.Root.Lstat(file)
	switch {
	case err != nil || size < 0 || fi.Size() == size:
		return ""
	case fi.Size() > size:
		return fmt.Sprintf("; %d bytes too many", fi.Size()-size)
	}
	return fmt.Sprintf("; %d bytes are missing", size-fi.Size())
}

// ledger reports mailboxes and domains whose use the running server had counted wrongly.
func (c *checker) ledger() {
	for _, r := range c.Ledger {
		at := slices.IndexFunc(c.boxes, func(b checkedBox) bool { return b.dir == r.Dir })
		var where string
		switch d := addr.Domain(filepath.Base(r.Dir)); {
		case at >= 0:
			where = c.boxes[at].address.String()
		case r.Domain && slices.Contains(c.domains, d):
			where = string(d)
		default:
			continue
		}
		if r.Before == r.After {
			continue
		}
		c.found(Finding{Where: where, Problem: ProblemLedger, Note: true,
			Text: fmt.Sprintf("the running server had counted %d bytes in %s; it holds %d bytes in %s", r.Before.Bytes, quota.FormatMessages(r.Before.Messages), r.After.Bytes, quota.FormatMessages(r.After.Messages)),
			Hint: "the server has counted again and is now correct; files added or removed by hand make its count wrong for some minutes"})
	}
}
