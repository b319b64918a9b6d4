package admin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
	"pillarbox/smtp/queue"
)

// The directories of the spool. Each message there is a pair of files: .eml and .env.
const (
	queueDir      = "queue"
	quarantineDir = "queue/quarantine"
)

// Spooled is a message in the queue or in quarantine, read from its two files.
type Spooled struct {
	ID    string    `json:"id"`
	Since time.Time `json:"since"` // the last change or move of one of its files
	// Size is the size of the message in octets; -1 if its file is missing.
	Size  int64       `json:"size"`
	State *queue.Item `json:"state"` // nil if it is missing or cannot be parsed
	// Problem is the reason why the message cannot be sent; "" if it can.
	Problem string `json:"problem,omitempty"`
	// Damaged means that the message is missing, truncated or overwritten.
	Damaged bool `json:"damaged,omitempty"`
	// Unread means that a file could not be read, because of the disk or its mode. The message may
	// be intact.
	Unread bool `json:"unread,omitempty"`

	noState bool // the state file is missing
	newer   bool // a newer release wrote the state
}

// examine reads both files of a message.
func (o *Service) examine(dir, id string) Spooled {
	s := Spooled{ID: id, Size: -1}
	text, stateErr := o.readSmall(dir+"/"+id+".env", &s.Since)
	if stateErr == nil {
		s.State, stateErr = queue.Decode(id, text)
	}
	newer, isNewer := errors.AsType[*queue.NewerError](stateErr)
	s.newer = isNewer
	s.noState = errors.Is(stateErr, fs.ErrNotExist)
	zeros, err := o.readMessage(dir+"/"+id+".eml", &s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Problem, s.Damaged = "its message is missing", true
	case errors.Is(err, errNoFile):
		s.Problem, s.Damaged = "its message is not a regular file", true
	case err != nil:
		s.Problem, s.Unread = fmt.Sprintf("its message cannot be read: %v", err), true
	case zeros > 0:
		s.Problem, s.Damaged = zerosText(zeros), true
	case s.State != nil && s.State.Size != s.Size:
		s.Problem, s.Damaged = fmt.Sprintf("its message has %d bytes, its state says %d", s.Size, s.State.Size), true
	case s.Size == 0:
		s.Problem, s.Damaged = "its message is empty", true
	case s.noState:
		s.Problem = "its state is missing"
	case s.newer:
		s.Problem = strings.TrimPrefix(newer.Error(), id+": ")
	case errors.Is(stateErr, queue.ErrCorrupt):
		s.Problem = "its state cannot be parsed: " + strings.TrimPrefix(stateErr.Error(), id+": "+queue.ErrCorrupt.Error()+": ")
	case errors.Is(stateErr, errNoFile):
		s.Problem = "its state is not a regular file, or much too large"
	case stateErr != nil:
		s.Problem, s.Unread = fmt.Sprintf("its state cannot be read: %v", stateErr), true
	}
	return s
}

var errNoFile = errors.New("not a regular file")

// open opens a regular file. It does not block if the name is that of a pipe.
func (o *Service) open(name string) (durable.File, fs.FileInfo, error) {
	fi, err := o.Root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: %w", name, errNoFile)
	}
	f, err := o.Root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	return f, fi, err
}

// readSmall reads a state file, up to mailstore.MaxState octets. It sets since to the time of the
// file's last change if that is later.
func (o *Service) readSmall(name string, since *time.Time) ([]byte, error) {
	f, fi, err := o.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	later(since, fi)
	if fi.Size() > mailstore.MaxState {
		return nil, fmt.Errorf("%s: %w: it has %d bytes", name, errNoFile, fi.Size())
	}
	return io.ReadAll(io.LimitReader(f, mailstore.MaxState))
}

func (o *Service) readMessage(name string, s *Spooled) (zeros int64, err error) {
	f, fi, err := o.open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	later(&s.Since, fi)
	s.Size = fi.Size()
	var count mailstore.ZeroCounter
	_, err = io.Copy(&count, f)
	return count.Count(), err
}

// later sets t to the time of the file's last change, renames included, if that is later.
func later(t *time.Time, fi fs.FileInfo) {
	changed := fi.ModTime()
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		changed = time.Unix(st.Ctim.Unix())
	}
	if changed.After(*t) {
		*t = changed
	}
}

func zerosText(zeros int64) string {
	return fmt.Sprintf("%s of its message are zeros: this part never reached the disk", quota.Approximate(zeros, 1_000_000))
}

// spooledIDs lists the IDs for which a directory has a message or a state.
func (o *Service) spooledIDs(dir string) ([]string, error) {
	names, err := o.Root.ReadNames(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, name := range names {
		id, isState := strings.CutSuffix(name, ".env")
		id, isMessage := strings.CutSuffix(id, ".eml")
		if (isState || isMessage) && !durable.IsTemp(name) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}
