// Package lastlogin keeps when each mailbox was last logged in to, and by which service. For app
// passwords it keeps the client's address too, so that their user can tell which of them is which.
//
// A [Keeper] takes each login in memory (Add), so that no login waits for the disk. The server writes
// them to last-logins.json in the data directory once an hour, and when it stops (Write). A power cut
// can lose an hour of them. Mailboxes and app passwords that no longer exist leave the file with the
// next write. The file has no wrong logins.
package lastlogin

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/durable"
)

const (
	// File is the name of the file in the data directory.
	File     = "last-logins.json"
	lockFile = ".last-logins.lock"

	interval = time.Hour // between writes
)

// Login is the last login to a mailbox, or with an app password.
type Login struct {
	Time    time.Time    `json:"time"`
	Service auth.Service `json:"service"`
	Remote  netip.Addr   `json:"remote_ip,omitzero"` // with an app password only
}

// logins are last logins by the address of the mailbox. Those with an app password have its ID after
// the address and a blank, which no address contains.
type logins map[string]Login

// content is the JSON of the file.
type content struct {
	Logins logins `json:"logins"`
}

// Keeper knows the last logins. It is safe for concurrent use. Without a server, it reads the file.
type Keeper struct {
	file *durable.JSONFile[logins]

	mu   sync.Mutex
	seen logins // owner: mu; since the last write
}

// Open returns the Keeper of a data directory. It reads nothing yet.
func Open(fsys durable.FS) *Keeper {
	return &Keeper{file: durable.NewJSONFile(fsys, File, lockFile, parse), seen: make(logins)}
}

// Report makes the keeper report to d when its file cannot be read, and returns k. It must be called
// before any other method.
func (k *Keeper) Report(d *durable.DamageReporter) *Keeper {
	k.file.Report(d)
	return k
}

func parse(text []byte) (logins, error) {
	var c content
	err := durable.DecodeStrict(text, &c)
	return c.Logins, err
}

// Check returns an error if the file cannot be read.
func (k *Keeper) Check() error {
	_, err := k.file.Load()
	return err
}

// Add takes a login that succeeded now. It never waits for the disk.
func (k *Keeper) Add(c auth.Client, p auth.Principal) {
	l := Login{Time: time.Now().UTC().Truncate(time.Second), Service: c.Service}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[key(p.Address, "")] = l
	if p.App != "" {
		l.Remote = c.Remote
		k.seen[key(p.Address, p.App)] = l
	}
}

// key is the key of a mailbox or, with an ID, of its app password.
func key(mailbox addr.Address, app string) string {
	return strings.TrimSuffix(mailbox.Fold().String()+" "+app, " ")
}

// Snapshot returns a function that finds the last login to a mailbox that was made at a time; zero if
// that is unknown. A login before that time was to another mailbox of the same name. With the ID of
// an app password, it finds the last login with that. With an error, only logins since the last write
// are found.
func (k *Keeper) Snapshot() (find Find, err error) {
	written, err := k.file.Load()
	k.mu.Lock()
	seen := maps.Clone(k.seen)
	k.mu.Unlock()
	return func(mailbox addr.Address, app string, made time.Time) (Login, bool) {
		l, ok := later(written, seen, key(mailbox, app))
		if !ok || l.Time.Before(made.Truncate(time.Second)) {
			return Login{}, false
		}
		return l, true
	}, err
}

// Find finds the last login to a mailbox, or with one of its app passwords: see Keeper.Snapshot.
type Find func(mailbox addr.Address, app string, made time.Time) (Login, bool)

// later returns the later of two logins to a mailbox.
func later(a, b logins, mailbox string) (Login, bool) {
	l, ok := a[mailbox]
	if m, also := b[mailbox]; also && !m.Time.Before(l.Time) {
		return m, true
	}
	return l, ok
}

// Rename gives the last logins of a mailbox to the mailbox's new name.
func (k *Keeper) Rename(mailbox, next addr.Address) error {
	k.mu.Lock()
	k.seen = renamed(k.seen, mailbox, next)
	k.mu.Unlock()
	if written, err := k.file.Load(); err != nil || written[key(mailbox, "")] == (Login{}) {
		return err
	}
	return k.file.Change(func(written logins) (any, error) {
		return content{renamed(written, mailbox, next)}, nil
	})
}

// renamed returns logins with another name for a mailbox.
func renamed(all logins, mailbox, next addr.Address) logins {
	out := make(logins, len(all))
	for name, l := range all {
		switch address, app, _ := strings.Cut(name, " "); address {
		case key(mailbox, ""):
			out[key(next, app)] = l
		case key(next, ""): // of an earlier mailbox of that name
		default:
			out[name] = l
		}
	}
	return out
}

// Exists reports whether there is a mailbox or, with an ID, whether it has the app password.
type Exists func(mailbox addr.Address, app string) bool

// Write writes the logins since the last write, and drops mailboxes and app passwords that do not
// exist. It does not touch the file if nothing changes. After an error, the next Write tries again.
func (k *Keeper) Write(exists Exists) error {
	k.mu.Lock()
	seen := maps.Clone(k.seen)
	k.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	err := k.file.Change(func(written logins) (any, error) {
		all := make(logins, len(written)+len(seen))
		maps.Copy(all, written)
		for mailbox := range seen {
			all[mailbox], _ = later(written, seen, mailbox)
		}
		maps.DeleteFunc(all, func(name string, _ Login) bool {
			mailbox, app, _ := strings.Cut(name, " ")
			a, err := addr.Parse(mailbox)
			return err != nil || !exists(a, app)
		})
		return content{all}, nil
	})
	if err == nil {
		k.forget(seen)
	}
	return err
}

// forget drops logins that are in the file now.
func (k *Keeper) forget(written logins) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for mailbox, l := range written {
		if k.seen[mailbox] == l {
			delete(k.seen, mailbox)
		}
	}
}

// Run writes once an hour until ctx ends. The caller writes once more after the last login. Run logs
// when writing begins to fail, and when it works again.
func (k *Keeper) Run(ctx context.Context, exists Exists, log *slog.Logger) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := k.Write(exists)
		switch {
		case err != nil && !failing:
			log.Error("last logins cannot be written; the next try is in an hour", "file", File, "error", err)
		case err == nil && failing:
			log.Info("last logins are written again", "file", File)
		}
		failing = err != nil
	}
}
