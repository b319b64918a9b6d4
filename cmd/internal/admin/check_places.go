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

// The values of Problem for places other than mailboxes.
const (
	ProblemQueue       Problem = "queue"       // a message in the queue that cannot be sent
	ProblemQuarantine  Problem = "quarantine"  // a message that was moved out of the queue
	ProblemBadmail     Problem = "badmail"     // a message that could neither be delivered nor reported
	ProblemPickup      Problem = "pickup"      // a file in the pickup folder that was not sent
	ProblemFetch       Problem = "fetch"       // the record of fetched mail cannot be parsed
	ProblemCertificate Problem = "certificate" // the TLS certificate is not in use, or expires
	ProblemLog         Problem = "log"         // the log of accepted mail, or its reserve
	ProblemOwner       Problem = "owner"       // the owner of a file keeps the server from using it
	ProblemMode        Problem = "mode"        // the mode of a file keeps the server from using it
)

// places checks everything beside the mailboxes that can hold mail. Each finding names whole paths,
// and its hint says how to recover the mail.
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

// whole returns the absolute path of a file below the data directory.
func (c *checker) whole(name string) string { return filepath.Join(c.office.Root.Name(), name) }

// queue reads every message of the queue.
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
			s = c.office.examine(queueDir, id) // the server may have been writing or removing it
		}
		switch {
		case s.noState && (s.Size < 0 && !s.Unread || c.isNew(queueDir+"/"+id+".eml")):
			// the server has removed it, or is still adding it
		case s.Problem == "":
			c.report.Queued++
		default:
			c.report.Queued++
			c.found(Finding{Where: where, Problem: ProblemQueue, File: path.Join(queueDir, id+".eml"), Text: s.Problem, Hint: c.queueHint(&s)})
		}
	}
}

// isNew reports whether a message's file is so new that its state file may still follow.
func (c *checker) isNew(name string) bool {
	fi, err := c.office.Root.Lstat(name)
	return err == nil && fi.Mode().IsRegular() && c.now.Sub(fi.ModTime()) < leftoverAge
}

func (c *checker) queueHint(s *Spooled) string {
	switch {
	case s.Unread:
		return c.damageHint()
	case s.newer:
		return "start the newer release again, which can send the message; this release only keeps it"
	case s.State == nil && s.Size >= 0:
		return fmt.Sprintf("the next start moves it to quarantine; then 'pillarbox admin queue quarantine retry %s --from A --to A' sends it", s.ID)
	case s.State != nil && s.Size > 0:
		return fmt.Sprintf("stop the server and restore it from a backup; or 'pillarbox admin queue bounce %s' returns it to its sender", s.ID)
	}
	return fmt.Sprintf("stop the server and restore %s and its .env from a backup; or 'pillarbox admin queue remove %s'", c.whole(path.Join(queueDir, s.ID+".eml")), s.ID)
}

// quarantine reports each message in quarantine. The server has accepted these messages, so their
// senders expect a delivery.
func (c *checker) quarantine() {
	all, err := c.office.ListQuarantine()
	if err != nil {
		c.failed("quarantine", ProblemQuarantine, err, c.damageHint())
	}
	for _, s := range all {
		text := "was moved out of the queue"
		if s.Problem != "" {
			text += ": " + s.Problem
		}
		c.found(Finding{Where: "quarantine", Problem: ProblemQuarantine, File: path.Join(quarantineDir, s.ID), Text: text, Hint: s.QuarantineHint()})
	}
}

// QuarantineHint returns a hint with the commands for a message in quarantine.
func (s *Spooled) QuarantineHint() string {
	retry, remove := "'pillarbox admin queue quarantine retry "+s.ID, "'pillarbox admin queue quarantine remove "+s.ID+"'"
	switch {
	case s.Unread:
		return "check the owner and mode of the file, and the disk for faults"
	case s.newer:
		return "start the newer release again, then " + retry + "'"
	case s.Damaged:
		return "restore it from a backup into queue/quarantine, then " + retry + "'; or " + remove
	case s.State == nil:
		return retry + " --from anna@office.example --to x@partner.example' sends it; or " + remove
	}
	return retry + "' puts it back into the queue"
}

// badmail reports damaged messages in badmail, and the size of all of them as a note.
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
				Hint: "restore it from a backup, or 'pillarbox admin badmail remove " + e.ID + "'"})
		}
	}
	if len(all) > 0 {
		c.found(Finding{Where: where, Problem: ProblemBadmail, Note: true, File: badmail.Dir,
			Text: fmt.Sprintf("holds %s that could neither be delivered nor reported (%s), since %s",
				quota.FormatMessages(int64(len(all))), quota.Approximate(size, 1_000_000), all[0].Kept.UTC().Format(time.RFC3339)),
			Hint: "'pillarbox admin badmail list' shows them; 'badmail send' sends one again, 'badmail remove' deletes it"})
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
			return "its envelope cannot be parsed"
		}
	}
	return ""
}

// pickup reports files that the server should have sent from the pickup folder.
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
			c.failed("pickup", ProblemPickup, err, "check the owner and mode of "+dir)
		}
		for _, e := range entries {
			c.picked(dir, sub, e)
		}
	}
}

// picked checks one entry of the pickup folder or of a folder in it.
func (c *checker) picked(dir, sub string, e fs.DirEntry) {
	fi, err := e.Info()
	name := e.Name()
	switch {
	case err != nil, e.IsDir(), strings.HasPrefix(name, "."), strings.HasSuffix(name, ".reason.txt"):
	case sub == "bad":
		c.found(Finding{Where: "pickup", Problem: ProblemPickup, Note: true, File: filepath.Join(dir, name), Text: "could not be sent",
			Hint: fmt.Sprintf("%s.reason.txt says why; correct the file and move it back to %s, or delete it", name, filepath.Dir(dir))})
	case c.now.Sub(fi.ModTime()) >= leftoverAge:
		c.found(Finding{Where: "pickup", Problem: ProblemPickup, File: filepath.Join(dir, name),
			Text: "has been waiting to be sent since " + fi.ModTime().UTC().Format(time.RFC3339),
			Hint: "check that the server runs and that its account can read the file; its log tells more about the pickup folder"})
	}
}

// fetched reports damaged records of the mail that was fetched from mailboxes on other servers.
func (c *checker) fetched() {
	const where = "fetch"
	c.leftovers(where, where)
	damaged := collect.Damaged(c.office.Root)
	for _, name := range slices.Sorted(maps.Keys(damaged)) {
		c.found(Finding{Where: where, Problem: ProblemFetch, File: name, Text: fmt.Sprintf("the record of fetched mail cannot be parsed: %v", damaged[name]),
			Hint: "the server fetches no mail from this mailbox; delete " + c.whole(name) + " to fetch all mail that is still on the other server, again"})
	}
}
