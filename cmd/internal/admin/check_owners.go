package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is a user of the machine, by its numbers. Its supplementary groups are not considered.
type account struct{ uid, gid uint32 }

// The permissions of a file or directory, as bits of its mode.
const (
	mayEnter fs.FileMode = 1
	mayWrite fs.FileMode = 2
	mayRead  fs.FileMode = 4
)

// may reports whether the account has all the permissions in what on a file.
func (a account) may(st *syscall.Stat_t, what fs.FileMode) bool {
	mode := fs.FileMode(st.Mode)
	switch {
	case a.uid == 0:
		return true
	case st.Uid == a.uid:
		mode >>= 6
	case st.Gid == a.gid:
		mode >>= 3
	}
	return mode&what == what
}

// owners checks whether the server's account, the owner of the data directory, can use everything
// below dirs. The check compares owners and modes: it often runs as root, which can open every
// file.
func (c *checker) owners(ctx context.Context, dirs []string) {
	fi, err := c.office.Root.Lstat(".")
	if err != nil {
		return
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	w := ownerWalk{checker: c, ctx: ctx, server: account{st.Uid, st.Gid}}
	if st.Uid == 0 {
		w.rootOwned()
		return
	}
	w.way()
	for _, dir := range dirs {
		w.dir(dir)
	}
}

// OwnerFindings returns the directories, the accounts of mailboxes, and the files outside mailboxes,
// that the server's account cannot use. A process that does not run as root is the server, so its own account counts.
func (o *Service) OwnerFindings(ctx context.Context) []Finding {
	return o.ownerFindings(ctx, currentAccount())
}

func (o *Service) ownerFindings(ctx context.Context, process account) []Finding {
	c := &checker{office: o, now: time.Now()}
	c.contain("data directory", func() {
		w := ownerWalk{checker: c, ctx: ctx, server: process, brief: true}
		if w.server.uid != 0 {
			w.dir(".")
			return
		}
		fi, err := o.Root.Lstat(".")
		if err != nil {
			return
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			w.server = account{st.Uid, st.Gid}
			w.dir(".")
		} else if ok {
			w.rootOwned()
		}
	})
	return slices.DeleteFunc(c.report.Findings, func(f Finding) bool { return f.Note })
}

func currentAccount() account { return account{uint32(os.Geteuid()), uint32(os.Getegid())} }

// OwnerError explains an error of a server that may not use a file: it names the whole path, and
// the command that gives the file to the server's account. Other errors stay as they are.
func OwnerError(data string, err error) error { return currentAccount().explain(data, err) }

func (a account) explain(data string, err error) error {
	failed, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(failed, fs.ErrPermission) || a.uid == 0 {
		return err
	}
	whole, target := failed.Path, data
	if !filepath.IsAbs(whole) {
		whole = filepath.Join(data, whole)
	} else if whole != data && !strings.HasPrefix(whole, data+"/") {
		target = whole
	}
	var st syscall.Stat_t
	owned := "another user's"
	if server, ok := a.serverOf(data); ok {
		if syscall.Stat(whole, &st) == nil {
			owned = "owner " + owner(&st)
		}
		return Hint(fmt.Errorf("%s may not use %s (%s): %w", a.user(), whole, owned, failed.Err),
			"%s", runAs(server))
	}
	if syscall.Stat(whole, &st) == nil {
		if owned = "owner " + owner(&st); st.Uid == a.uid {
			return Hint(fmt.Errorf("%s may not use %s: %w", a.name(), whole, failed.Err),
				"'chmod -R u+rwX %s'", target)
		}
	}
	return Hint(fmt.Errorf("%s may not use %s (%s): %w", a.name(), whole, owned, failed.Err),
		"'chown -R %s %s', as root", a.owners(), target)
}

// serverOf returns the owner of a data directory, if that is an account other than a and root. The
// server then runs as that account, and its files must stay with it.
func (a account) serverOf(data string) (account, bool) {
	var st syscall.Stat_t
	if syscall.Stat(data, &st) != nil || st.Uid == 0 || st.Uid == a.uid {
		return account{}, false
	}
	return account{st.Uid, st.Gid}, true
}

// runAs returns the hint for a server that was started with another account than the server's.
func runAs(server account) string {
	return fmt.Sprintf("the data directory belongs to %s: run the server as that account, "+
		"or with 'sudo systemctl start pillarbox'", server.user())
}

// ownerWalk is one check of owners and modes.
type ownerWalk struct {
	*checker
	ctx    context.Context
	server account
	// brief leaves out the messages of mailboxes, of which there may be millions.
	brief bool
}

// The account and the data directory of a server that was installed from the package.
const (
	usualAccount = "pillarbox"
	usualData    = "/var/lib/pillarbox"
)

// rootOwned reports a data directory that belongs to root, if the machine has the usual account.
// Root may have copied the directory. It is a note for other directories, whose server may run as
// root.
func (w *ownerWalk) rootOwned() {
	if u, err := user.Lookup(usualAccount); err == nil {
		data := w.office.Root.Name()
		w.found(Finding{Where: "data directory", Problem: ProblemOwner, Note: data != usualData, Text: data + " belongs to root: only a server that runs as root can use it",
			Hint: fmt.Sprintf("if the server runs as %s: 'chown -R %s %s'", usualAccount, ownerNames(u.Uid, u.Gid), data)})
	}
}

// way reports parent directories of the data directory that the server's account cannot enter.
func (w *ownerWalk) way() {
	for dir := filepath.Dir(w.office.Root.Name()); ; dir = filepath.Dir(dir) {
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err == nil && !w.server.may(&st, mayEnter) {
			w.found(Finding{Where: "data directory", Problem: ProblemMode, Text: fmt.Sprintf("%s cannot enter %s, which leads to the data directory", w.server.name(), dir),
				Hint: fmt.Sprintf("'chmod o+x %s'", dir)})
		}
		if dir == filepath.Dir(dir) {
			return
		}
	}
}

// name returns the server's account for messages.
func (a account) name() string { return "the server's account " + a.user() }

func (a account) user() string { return userName(strconv.FormatUint(uint64(a.uid), 10)) }

// owners returns user and group in the form of chown.
func (a account) owners() string {
	id := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	return ownerNames(id(a.uid), id(a.gid))
}

// dir checks a directory and everything below it.
func (w *ownerWalk) dir(dir string) {
	fi, err := w.office.Root.Lstat(dir)
	if err != nil || w.ctx.Err() != nil {
		return
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.IsDir() {
		return
	}
	if !w.server.may(st, mayRead|mayWrite|mayEnter) {
		w.tell(dir, "", st, 0, "cannot use this directory")
		return // the command in the hint repairs everything below it
	}
	if w.brief && strings.Count(dir, "/") == briefDepth {
		var shut, foreign alike
		w.file(path.Join(dir, "account.json"), &shut, &foreign)
		shut.tell(w, dir, "cannot use", false)
		return
	}
	entries, err := w.office.Root.ReadDir(dir)
	if err != nil {
		w.failed("data directory", ProblemMode, fmt.Errorf("%s: %w", w.whole(dir), err), w.damageHint())
		return
	}
	var shut, foreign alike
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			w.dir(name)
		case e.Type().IsRegular():
			w.file(name, &shut, &foreign)
		}
	}
	shut.tell(w, dir, "cannot use", false)
	foreign.tell(w, dir, "can read but does not own", true)
}

// briefDepth is the number of slashes in the name of a mailbox's directory.
const briefDepth = 2

// file checks one file.
func (w *ownerWalk) file(name string, shut, foreign *alike) {
	fi, err := w.office.Root.Lstat(name)
	if err != nil {
		return // removed since the listing
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
	case !w.server.may(st, neededOf(name)):
		shut.add(name, st)
	case st.Uid != w.server.uid:
		foreign.add(name, st)
	}
}

// neededOf returns the permissions that the server needs on a file. It replaces most files as a
// whole, which needs none on the file itself but to read it; it writes into others.
func neededOf(name string) fs.FileMode {
	dir, base := path.Split(name)
	switch {
	case dir == "log/", dir == "journal/", dir == "track/", base == "lock", base == "fetched",
		strings.HasPrefix(name, "audit."):
		return mayRead | mayWrite
	}
	return mayRead
}

// alike collects the files of a directory that become one finding.
type alike struct {
	count int
	first string
	stat  *syscall.Stat_t
}

func (t *alike) add(name string, st *syscall.Stat_t) {
	if t.count++; t.first == "" || name < t.first {
		t.first, t.stat = name, st
	}
}

func (t *alike) tell(w *ownerWalk, dir, what string, note bool) {
	switch {
	case t.count == 0:
		return
	case note:
		w.found(Finding{Where: "data directory", Problem: ProblemOwner, Note: true, File: t.first,
			Text: fmt.Sprintf("%s %s %s, which belong to %s", w.server.name(), what, files(t.count), owner(t.stat)), Hint: w.chown(dir)})
	default:
		w.tell(dir, t.first, t.stat, t.count, what)
	}
}

// tell reports a directory, or files in it, that the server's account cannot use.
func (w *ownerWalk) tell(dir, first string, st *syscall.Stat_t, count int, what string) {
	f := Finding{Where: "data directory", Problem: ProblemOwner, File: first, Hint: w.chown(dir)}
	if f.File == "" {
		f.File = dir
	}
	text := fmt.Sprintf("%s %s", w.server.name(), what)
	switch {
	case count == 1:
		text += " " + w.whole(f.File)
	case count > 1:
		text += fmt.Sprintf(" %s here, such as %s", files(count), w.whole(f.File))
	default:
		text += ", " + w.whole(f.File)
	}
	f.Text = fmt.Sprintf("%s: owner %s, mode %03o", text, owner(st), st.Mode&0o777)
	if st.Uid == w.server.uid {
		f.Problem, f.Hint = ProblemMode, fmt.Sprintf("'chmod -R u+rwX %s'", w.whole(dir))
	}
	w.found(f)
}

func (w *ownerWalk) chown(dir string) string {
	if server, ok := w.server.serverOf(w.office.Root.Name()); ok {
		return runAs(server)
	}
	return fmt.Sprintf("'chown -R %s %s', as root", w.server.owners(), w.whole(dir))
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

func owner(st *syscall.Stat_t) string { return userName(strconv.FormatUint(uint64(st.Uid), 10)) }

// userName returns the name of a user, or the number if it has no name.
func userName(uid string) string {
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}

// ownerNames returns a user and a group in the form of chown.
func ownerNames(uid, gid string) string {
	group := gid
	if g, err := user.LookupGroupId(gid); err == nil {
		group = g.Name
	}
	return userName(uid) + ":" + group
}
