package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pillarbox/pop3/collect"
	"pillarbox/quota"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
)

// The values of Problem for what lies beside the mailboxes.
const (
	ProblemQueue      Problem = "queue"      // a message in the queue that cannot be sent
	ProblemQuarantine Problem = "quarantine" // one that was taken out of it
	ProblemBadmail    Problem = "badmail"    // one that could neither be delivered nor reported
	ProblemPickup     Problem = "pickup"     // a file that was to be sent
	ProblemFetch      Problem = "fetch"      // the record of fetched mail cannot be understood
	ProblemLog        Problem = "log"        // the log of mail that is on its way, or its reserve
	ProblemOwner      Problem = "owner"      // the server may not use it: it is another user's
	ProblemMode       Problem = "mode"       // the server may not use it: its mode
)

// places looks at everything beside the mailboxes that can hold mail. Each part names what is wrong with whole paths, and
// says how the mail comes back.
func (c *checker) places(ctx context.Context) {
	parts := []func(){
		func() { c.leftovers("data directory", ".") },
		func() { c.leftovers("data directory", "mailbox") },
		c.incoming,
		func() { c.queue(ctx) },
		c.quarantine,
		c.badmail,
		c.pickup,
		c.fetched,
		c.log,
	}
	for _, part := range parts {
		if ctx.Err() == nil {
			c.contain("data directory", part)
		}
	}
}

// whole is the path of a file as a person types it.
func (c *checker) whole(name string) string { return filepath.Join(c.office.Root.Name(), name) }

// queue reads every message that waits to be sent.
func (c *checker) queue(ctx context.Context) {
	const where = "queue"
	c.leftovers(where, queueDir)
	ids, err := c.office.spooledIDs(queueDir)
	if err != nil {
		c.failed(where, ProblemQueue, err, c.damageHint())
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			return
		}
		s := c.office.examine(queueDir, id)
		if s.Problem != "" {
			s = c.office.examine(queueDir, id) // it may have been on its way in or out
		}
		switch {
		case s.noState && (s.Size < 0 && !s.Unread || c.isNew(queueDir+"/"+id+".eml")):
			// it has left, or is just being put there
		case s.Problem == "":
			c.report.Queued++
		default:
			c.report.Queued++
			c.found(Finding{Where: where, Problem: ProblemQueue, File: path.Join(queueDir, id+".eml"), Text: s.Problem, Hint: c.queueHint(&s)})
		}
	}
}

// isNew reports whether a message's file is so young that its state may still come.
func (c *checker) isNew(name string) bool {
	fi, err := c.office.Root.Lstat(name)
	return err == nil && fi.Mode().IsRegular() && c.now.Sub(fi.ModTime()) < leftoverAge
}

func (c *checker) queueHint(s *Spooled) string {
	switch {
	case s.Unread:
		return c.damageHint()
	case s.newer:
		return "start the newer release again: it sends the message; this one keeps it and does not send it"
	case s.State == nil && s.Size >= 0:
		return fmt.Sprintf("the next start puts it into quarantine; then 'pillarbox admin queue quarantine retry %s --from A --to A' sends it", s.ID)
	case s.State != nil && s.Size > 0:
		return fmt.Sprintf("take it from a backup, while the server is stopped; or 'pillarbox admin queue bounce %s' gives it back to its sender", s.ID)
	}
	return fmt.Sprintf("take %s and its .env from a backup, while the server is stopped; or 'pillarbox admin queue remove %s'", c.whole(path.Join(queueDir, s.ID+".eml")), s.ID)
}

// quarantine names each message there: its sender was told that it is on its way.
func (c *checker) quarantine() {
	all, err := c.office.ListQuarantine()
	if err != nil {
		c.failed("quarantine", ProblemQuarantine, err, c.damageHint())
	}
	for _, s := range all {
		text := "was taken out of the queue"
		if s.Problem != "" {
			text += ": " + s.Problem
		}
		c.found(Finding{Where: "quarantine", Problem: ProblemQuarantine, File: path.Join(quarantineDir, s.ID), Text: text, Hint: s.QuarantineHint()})
	}
}

// QuarantineHint is what to do about a message in quarantine.
func (s *Spooled) QuarantineHint() string {
	retry, remove := "'pillarbox admin queue quarantine retry "+s.ID, "'pillarbox admin queue quarantine remove "+s.ID+"'"
	switch {
	case s.Unread:
		return "see who may read it, and whether the disk is sound"
	case s.newer:
		return "start the newer release again, then " + retry + "'"
	case s.Damaged:
		return "take it from a backup, into queue/quarantine, then " + retry + "'; or " + remove
	case s.State == nil:
		return retry + " --from anna@office.example --to x@partner.example' sends it; or " + remove
	}
	return retry + "' puts it back into the queue"
}

// badmail says how much is there, and what of it is damaged.
func (c *checker) badmail() {
	const where = "badmail"
	c.leftovers(where, badmail.Dir)
	all, err := badmail.List(c.office.Root)
	if err != nil {
		c.failed(where, ProblemBadmail, err, c.damageHint())
	}
	var size int64
	for _, e := range all {
		size += e.Size
		name := path.Join(badmail.Dir, e.ID+".eml")
		if text := c.office.badmailProblem(name, &e); text != "" {
			c.found(Finding{Where: where, Problem: ProblemBadmail, File: name, Text: text,
				Hint: "take it from a backup, or 'pillarbox admin badmail remove " + e.ID + "'"})
		}
	}
	if len(all) > 0 {
		c.found(Finding{Where: where, Problem: ProblemBadmail, Note: true, File: badmail.Dir,
			Text: fmt.Sprintf("holds %s that could neither be delivered nor reported (%s), since %s",
				quota.FormatMessages(int64(len(all))), quota.Approximate(size, 1_000_000), all[0].Kept.UTC().Format(time.RFC3339)),
			Hint: "'pillarbox admin badmail list' shows them; 'badmail send' sends one once more, 'badmail remove' deletes it"})
	}
}

func (o *Service) badmailProblem(name string, e *badmail.Entry) string {
	var s Spooled
	zeros, err := o.readMessage(name, &s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "its message is missing"
	case err != nil:
		return fmt.Sprintf("its message cannot be read: %v", err)
	case zeros > 0:
		return zerosText(zeros)
	}
	if text, err := o.readSmall(badmail.Dir+"/"+e.ID+".env", &s.Since); err == nil {
		_, err := queue.Decode(e.ID, text)
		if newer, ok := errors.AsType[*queue.NewerError](err); ok {
			return newer.Error()
		} else if err != nil {
			return "its envelope cannot be understood"
		}
	}
	return ""
}

// pickup looks for files that should have been sent.
func (c *checker) pickup() {
	folder := c.office.Config().Pickup
	if !folder.Enabled || folder.Dir == "" {
		return
	}
	for _, sub := range []string{"", ".taking", "bad"} {
		dir := filepath.Join(folder.Dir, sub)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			c.failed("pickup", ProblemPickup, err, "see who may read "+dir)
		}
		for _, e := range entries {
			c.picked(dir, sub, e)
		}
	}
}

// picked looks at one file of the pickup folder.
func (c *checker) picked(dir, sub string, e fs.DirEntry) {
	fi, err := e.Info()
	name := e.Name()
	switch {
	case err != nil, e.IsDir(), strings.HasPrefix(name, "."), strings.HasSuffix(name, ".reason.txt"):
	case sub == "bad":
		c.found(Finding{Where: "pickup", Problem: ProblemPickup, Note: true, File: filepath.Join(dir, name), Text: "could not be sent",
			Hint: fmt.Sprintf("%s.reason.txt says why; put it back into %s once it is mended, or delete it", name, filepath.Dir(dir))})
	case c.now.Sub(fi.ModTime()) >= leftoverAge:
		c.found(Finding{Where: "pickup", Problem: ProblemPickup, File: filepath.Join(dir, name),
			Text: "waits to be sent since " + fi.ModTime().UTC().Format(time.RFC3339),
			Hint: "see whether the server runs, whether its account may read the file, and what its log says of the pickup folder"})
	}
}

// fetched looks at the records of what was fetched from mailboxes on other servers.
func (c *checker) fetched() {
	const where = "fetch"
	c.leftovers(where, where)
	damaged := collect.Damaged(c.office.Root)
	for _, name := range slices.Sorted(maps.Keys(damaged)) {
		c.found(Finding{Where: where, Problem: ProblemFetch, File: name, Text: fmt.Sprintf("the record of fetched mail cannot be understood: %v", damaged[name]),
			Hint: "until then its mail is not collected; delete " + c.whole(name) + " to fetch everything that is still on the other server once more"})
	}
}
