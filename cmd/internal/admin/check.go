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
)

// Problem is a kind of Finding.
type Problem string

// The values of Problem. Those of mailstore.FaultKind are among them.
const (
	ProblemAccount  Problem = "account"  // account.json cannot be read
	ProblemDomain   Problem = "domain"   // domain.json cannot be read
	ProblemSettings Problem = "settings" // another file of settings in the data directory cannot be read
	ProblemMailbox  Problem = "mailbox"  // the mailbox cannot be listed
	ProblemLeftover Problem = "leftover" // a temporary file that nobody will finish
	ProblemName     Problem = "name"     // a directory that looks like a mailbox and is none
	ProblemStranger Problem = "stranger" // a file in a mailbox that is none of its own
	ProblemQuota    Problem = "quota"    // more is there than may be
	ProblemLedger   Problem = "ledger"   // the running server counted wrongly
	ProblemProgram  Problem = "program"  // the program itself goes wrong
	// More are in check_places.go.
)

// Finding is something that CheckMail found.
type Finding struct {
	Where    string  `json:"where"` // the mailbox or the domain
	Problem  Problem `json:"problem"`
	File     string  `json:"file,omitempty"` // below the data directory
	Text     string  `json:"text"`
	Hint     string  `json:"hint"`
	Note     bool    `json:"note"`     // nothing is wrong, but worth to be known
	Repaired bool    `json:"repaired"` // nothing is wrong any more
}

// wrong reports whether something is still wrong.
func (f Finding) wrong() bool { return !f.Note && !f.Repaired }

// CheckOptions say how to check. The zero value is good.
type CheckOptions struct {
	// Repair removes old temporary files and gives messages the name that tells what they are.
	Repair bool
	// Ledger is what the running server has just counted anew; nil if it does not run.
	Ledger []quota.Recount
	// Progress is told how many mailboxes of all are done, by one goroutine at a time; nil for nobody.
	Progress func(done, all int)
}

// CheckReport is what was checked and found.
type CheckReport struct {
	Domains   int       `json:"domains"`
	Mailboxes int       `json:"mailboxes"`
	Messages  int       `json:"messages"`
	Bytes     int64     `json:"bytes"`  // of these, as POP3 counts them
	Queued    int       `json:"queued"` // messages in the queue, where all is checked
	Findings  []Finding `json:"findings"`
	Wrong     int       `json:"wrong"` // findings that are no notes and were not repaired
}

const (
	// leftoverAge is how old a temporary file must be that nobody writes any more.
	leftoverAge = time.Hour
	// checkWorkers is how many mailboxes are read at once.
	checkWorkers = 4
)

// CheckMail reads the mail of a mailbox or a domain, or of all for "", and the files around it, and tells what is
// wrong. For all, that is everything that can hold mail: queue, quarantine, badmail and the folders on the way too. Nothing is changed unless opts says so.
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

// parts are the directories that are checked as a whole.
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

// CheckTarget says whether there is such a mailbox or domain.
func (o *Service) CheckTarget(target string) error {
	if err := o.RequireTarget(target, false); err != nil {
		return err
	}
	return (&checker{office: o}).choose(target)
}

// checker is one run of CheckMail.
type checker struct {
	office *Service
	CheckOptions
	now     time.Time
	domains []addr.Domain // to be checked as a whole
	boxes   []checkedBox

	mu     sync.Mutex
	done   int
	report CheckReport
}

// checkedBox is a mailbox, which may have no readable account.
type checkedBox struct {
	address addr.Address
	dir     string
}

// choose finds what is to be checked.
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
			a, _ := directory.AddressAt(dir) // the directory lists no others
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

// found notes a finding.
func (c *checker) found(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Findings = append(c.report.Findings, f)
}

// failed notes an error that is a finding.
func (c *checker) failed(where string, p Problem, err error, hint string) {
	if hinted, ok := errors.AsType[*HintError](err); ok {
		hint = hinted.Hint
	}
	c.found(Finding{Where: where, Problem: p, Text: err.Error(), Hint: hint})
}

// domain looks at what a domain holds beside its mailboxes.
func (c *checker) domain(d addr.Domain) {
	_, err := c.office.Dir.Domain(d)
	if errors.Is(err, directory.ErrNotFound) {
		return
	}
	if err != nil {
		c.failed(string(d), ProblemDomain, c.office.explain(err, d, "domain list"), "see whether the disk is sound")
	}
	dir := directory.DomainDir(d)
	entries := c.leftovers(string(d), dir)
	for _, e := range entries {
		name := e.Name()
		looks := strings.HasPrefix(strings.ToLower(name), "p3_") && strings.HasSuffix(strings.ToLower(name), ".mbx")
		if !looks || slices.ContainsFunc(c.boxes, func(b checkedBox) bool { return b.dir == dir+"/"+name && b.address == b.address.Fold() }) {
			continue
		}
		c.found(Finding{Where: string(d), Problem: ProblemName, File: dir + "/" + name, Text: "looks like a mailbox, and nobody's mail is looked for there",
			Hint: c.nameHint(d, e)})
	}
}

// nameHint says how what looks like a mailbox becomes one. A name that is taken is never to be given to it: the mail
// that is there would be lost.
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

// leftovers looks for old temporary files in a directory, and returns all that is there.
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
		f := Finding{Where: where, Problem: ProblemLeftover, File: name, Text: "left by a change that was interrupted " + fi.ModTime().UTC().Format(time.DateTime),
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

// incoming looks for messages that nobody is bringing in any more.
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

// repaired says how a repair went.
func repaired(f Finding, how string, err error) Finding {
	if err != nil {
		f.Hint = fmt.Sprintf("the repair failed: %v", err)
		return f
	}
	f.Repaired, f.Hint = true, how
	return f
}

func (c *checker) damageHint() string {
	return fmt.Sprintf("see whether the disk is sound, and who owns what is below %s", c.office.Root.Name())
}

// contain does a part of the check that may bring the program to a panic. The other parts go on.
func (c *checker) contain(where string, part func()) {
	err := caught.Do(func() error { part(); return nil })
	if err == nil {
		return
	}
	caught.Log(c.office.log, err, "the program goes wrong when this is checked; the check goes on", "where", where)
	c.found(Finding{Where: where, Problem: ProblemProgram, Text: "the check breaks off here: " + err.Error(),
		Hint: "what is wrong here is not known; report this to those who make the program, with what its log says"})
}

// mailboxes checks all mailboxes, several at once.
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

// mailbox checks one.
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

// account looks at the account and at the quota.
func (c *checker) account(b checkedBox) {
	box, err := c.office.Dir.Mailbox(b.address)
	if errors.Is(err, directory.ErrDamaged) {
		if _, inDomain := c.office.Dir.Domain(b.address.Domain); inDomain != nil && inDomain.Error() == err.Error() {
			return // told already
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
		return // told already
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
			Text: fmt.Sprintf("holds %s in %s, more than it may", quota.Approximate(used.Bytes, limits.Bytes), quota.FormatMessages(used.Messages)),
			Hint: fmt.Sprintf("nothing more is taken until some of it is deleted; 'pillarbox admin quota set %s%s' gives it more room", b.address, room)})
	}
}

// ownFiles are what a mailbox holds beside messages.
var ownFiles = []string{"account.json", "fetched", importLock}

// strangers looks for files in a mailbox that are none of its own.
func (c *checker) strangers(where, dir string) {
	for _, e := range c.leftovers(where, dir) {
		name := e.Name()
		regular := e.Type().IsRegular()
		switch {
		case regular && (mailstore.IsMessageFile(name) || slices.Contains(ownFiles, name) || durable.IsTemp(name)):
			continue
		case mailstore.IsMessageFile(name):
			c.found(Finding{Where: where, Problem: ProblemStranger, Note: true, File: dir + "/" + name, Text: "has the name of a message and is no plain file",
				Hint: "it is not served; put the file itself there"})
		default:
			c.found(Finding{Where: where, Problem: ProblemStranger, Note: true, File: dir + "/" + name, Text: "is no message and nothing of the mailbox's own",
				Hint: "move it away, or, if it is a message, give it a name that ends in .eml"})
		}
	}
}

// fault makes a finding of what is wrong with a message, and repairs it where that is asked for and possible.
func (c *checker) fault(b checkedBox, fault mailstore.Fault) Finding {
	var lost string
	f := Finding{Where: b.address.String(), Problem: Problem(fault.Kind), File: b.dir + "/" + fault.File, Text: strings.TrimPrefix(fault.Err.Error(), b.dir+"/"+fault.File+": ")}
	switch fault.Kind {
	case mailstore.FaultDuplicate:
		f.Text = strings.TrimPrefix(f.Text, b.dir+": ")
		f.Hint = "one of the two is served under another unique-id; delete it if they are the same message"
		return f
	case mailstore.FaultZeros:
		f.Text, f.Hint = zerosText(fault.Zeros), "take it from a backup, or delete it"
		return f
	case mailstore.FaultUnreadable:
		f.Hint = "see who may read it, and whether the disk is sound; or take it from a backup"
		return f
	case mailstore.FaultSize:
		_, f.Text, _ = strings.Cut(f.Text, mailstore.ErrDamaged.Error()+": ")
		f.Text, _, _ = strings.Cut(f.Text, ";")
		lost = c.lost(f.File)
		f.Text += lost
		f.Hint = "it was cut short or changed: take it from a backup, or serve it as it is with --repair, which renames it"
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

// lost says how far the size of a message is from the one that its name tells, which nobody knows once it is renamed.
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

// ledger compares what the running server believed with what it counted.
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
			Text: fmt.Sprintf("the running server believed it to hold %d bytes in %s; it holds %d in %s", r.Before.Bytes, quota.FormatMessages(r.Before.Messages), r.After.Bytes, quota.FormatMessages(r.After.Messages)),
			Hint: "the server has counted anew and is right now; it is wrong for some minutes when files are added or removed by hand"})
	}
}
