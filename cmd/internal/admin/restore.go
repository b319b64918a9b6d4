package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"pillarbox/cmd/internal/backup"
	"pillarbox/mailstore"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// RestoreOrder is the input of RestoreMail.
type RestoreOrder struct {
	Dir, Snapshot string    // as in BackupChoice
	Mailbox       string    // user or address
	Message       string    // the unique-id of the only message that is wanted; "": all
	Since         time.Time // only messages that arrived since then; zero: all
	Dry           bool      // only tell
}

// Restored is the result of a restore into a mailbox.
type Restored struct {
	Dir       string   `json:"dir"`
	Snapshot  string   `json:"snapshot"`
	Mailbox   string   `json:"mailbox"`
	New       bool     `json:"new"` // the mailbox was missing
	Messages  int      `json:"messages"`
	Bytes     int64    `json:"bytes"`
	Already   int      `json:"already"`   // messages that the mailbox has
	Different []string `json:"different"` // files that it has with another content; they stay
	Damaged   int      `json:"damaged"`
	Damages   []string `json:"damages"`
}

// restoreMail puts messages of a snapshot back into a mailbox. The server may run. Messages keep
// their names, so POP3 clients know them by their unique-ids. What is in the mailbox stays. A mailbox
// that is missing comes back with its account, and with its domain if that is missing too.
func (o *Service) restoreMail(ctx context.Context, in RestoreOrder) (out Restored, err error) {
	a, err := o.ParseUser(in.Mailbox)
	if err != nil {
		return out, err
	}
	out = Restored{Mailbox: a.String(), Different: []string{}, Damages: []string{}}
	if out.Dir, err = o.backupDir(in.Dir); err != nil {
		return out, err
	}
	r, closing, err := openBackups(out.Dir)
	if err != nil {
		return out, err
	}
	defer closing()
	s, err := r.Snapshot(in.Snapshot)
	if err != nil {
		return out, snapshotHint(err, out.Dir)
	}
	out.Snapshot = s.ID
	if !in.Dry { // the log must not delete again what comes back
		if err := o.checkpoint(); err != nil {
			return out, err
		}
	}
	m := mailRestorer{service: o, order: in, dir: directory.MailboxDir(a.Fold()), out: &out}
	if err := m.look(); err != nil {
		return out, err
	}
	report, err := r.Extract(ctx, &s, backup.Wanted{Take: m.take, To: m.file}, o.copied())
	out.Damaged, out.Damages = report.Damaged, append(out.Damages, report.Damages...)
	if err == nil && !m.found {
		err = Hint(fmt.Errorf("snapshot %s has no such mail of %s", s.ID, a), "'pillarbox admin backup list' shows other snapshots")
	}
	if in.Dry || out.Messages == 0 && !out.New {
		return out, err
	}
	err = errors.Join(err, o.Root.SyncAll())
	o.Record(a.String(), nil, map[string]any{"restored": out.Messages, "bytes": out.Bytes, "snapshot": s.ID})
	if o.Running != nil {
		_, counting := o.recount()
		err = errors.Join(err, counting)
	}
	return out, err
}

// mailRestorer puts files back into one mailbox.
type mailRestorer struct {
	service *Service
	order   RestoreOrder
	dir     string // of the mailbox
	out     *Restored
	found   bool // the snapshot has wanted files
	domain  bool // the domain is missing
	ids     map[string]bool
}

// look finds out what is there.
func (m *mailRestorer) look() error {
	m.ids = map[string]bool{}
	if _, err := m.service.Root.Lstat(path.Dir(m.dir)); errors.Is(err, fs.ErrNotExist) {
		m.domain = true
	}
	held, err := m.service.Store.Snapshot(m.dir)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		m.out.New = true
		return nil
	} else if err != nil {
		return err
	}
	for _, message := range held.Messages() {
		m.ids[message.UID] = true
	}
	return nil
}

// take reports whether an entry is wanted. Of a mailbox that is there, only messages are: its account
// and all else stay as they are.
func (m *mailRestorer) take(e *backup.Entry) bool {
	name := strings.TrimPrefix(e.Path, backup.DataPart)
	below, ok := strings.CutPrefix(name, m.dir+"/")
	switch {
	case !ok:
		return m.domain && path.Dir(name) == path.Dir(m.dir) && !e.IsDir() && m.order.Message == ""
	case below == "":
		return false
	}
	message := !strings.Contains(below, "/") && mailstore.IsMessageFile(below)
	switch {
	case m.out.New && !message:
		wanted := m.order.Message == "" && !e.IsDir()
		m.found = m.found || wanted
		return wanted
	case !message:
		return false
	}
	id, _, isID := mailstore.ParseID(below)
	if w := m.order.Message; w != "" && w != id && w != below && w+".eml" != below {
		return false
	}
	arrived := e.Modified
	if isID {
		arrived = mailstore.IDTime(id)
	}
	if arrived.Before(m.order.Since) {
		return false
	}
	m.found = true
	return true
}

func (m *mailRestorer) file(e *backup.Entry, copy func(io.Writer) error) error {
	name := strings.TrimPrefix(e.Path, backup.DataPart)
	root := m.service.Root
	id, _, isID := mailstore.ParseID(path.Base(name))
	message := path.Dir(name) == m.dir && mailstore.IsMessageFile(path.Base(name))
	_, err := root.Lstat(name)
	switch {
	case err == nil && message:
		same, err := backup.Same(root, name, e)
		if same {
			m.out.Already++
		} else if err == nil {
			m.out.Different = append(m.out.Different, path.Base(name))
		}
		return err
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case message && isID && m.ids[id]: // under another name
		m.out.Already++
		return nil
	}
	if !m.order.Dry {
		if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
			return err
		}
		if err := backup.PutBack(root, name, e, copy); err != nil {
			return err
		}
	}
	if message {
		m.out.Messages++
		m.out.Bytes += e.Size
	}
	return nil
}

// OfficeOrder says what RestoreOffice does.
type OfficeOrder struct {
	Dir, Snapshot string
	To            string // the data directory; it must be empty, or missing
	Dry           bool   // only verify
}

// OfficeRestored is the result of RestoreOffice.
type OfficeRestored struct {
	Dir      string          `json:"dir"`
	Snapshot backup.Snapshot `json:"snapshot"`
	To       string          `json:"to"`
	backup.Report
}

// RestoreOffice restores a whole office into a directory, without a server. It is no verb, because a
// verb needs a data directory. If root calls it, the files belong to the owner of the directory.
func RestoreOffice(ctx context.Context, in OfficeOrder, tell func(Part)) (out OfficeRestored, err error) {
	out.Dir, out.To = in.Dir, in.To
	r, closing, err := openBackups(in.Dir)
	if err != nil {
		return out, err
	}
	defer closing()
	if out.Snapshot, err = r.Snapshot(in.Snapshot); err != nil {
		return out, snapshotHint(err, in.Dir)
	}
	progress := (&Service{tell: tell}).copied()
	if in.Dry {
		out.Report, err = r.Verify(ctx, &out.Snapshot, progress)
		return out, err
	}
	if err := os.Mkdir(in.To, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return out, err
	}
	root, err := durable.Open(in.To)
	if err != nil {
		return out, err
	}
	defer root.Close()
	unlock, err := durable.TryLockAs(root, DataLock, AdminLock)
	if err != nil {
		return out, Hint(err, "stop the server first")
	}
	defer unlock()
	all := func(*backup.Entry) bool { return true }
	out.Report, err = r.Restore(ctx, &out.Snapshot, root, DataLock, all, progress)
	if errors.Is(err, backup.ErrNotEmpty) {
		err = Hint(fmt.Errorf("%s: %w", in.To, err),
			"move it away, or choose another directory with --to; --mailbox restores into the office that is there")
	}
	return out, err
}

// checkRestored refuses a data directory that is half restored.
func checkRestored(root Files) error {
	if _, err := root.Lstat(backup.RestoreMark); err != nil {
		return nil
	}
	return Hint(fmt.Errorf("the restore into %s has not finished", root.Name()),
		"repeat the same 'pillarbox admin restore'; or remove %s to use what is there",
		filepath.Join(root.Name(), backup.RestoreMark))
}
