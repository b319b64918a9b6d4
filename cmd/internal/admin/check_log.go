package admin

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

// serverHolds reports whether a server uses the data directory. It then moves the entries of its
// log to their files by itself.
func (o *Service) serverHolds() bool {
	holder, err := durable.LockHolder(o.Root, DataLock)
	return err == nil && holder != nil && holder.As == ServerLock
}

// ServerPID returns the process that holds the data directory as a server. 0 means that none does,
// or that it is not known.
func (o *Service) ServerPID() int {
	holder, err := durable.LockHolder(o.Root, DataLock)
	if err != nil || holder == nil || holder.As != ServerLock {
		return 0
	}
	return holder.PID
}

// LogFindings returns what CheckMail finds wrong in the log of accepted mail, and notes.
func (o *Service) LogFindings() []Finding {
	c := &checker{office: o, now: time.Now()}
	c.contain("data directory", c.log)
	return c.report.Findings
}

// log checks the log of accepted mail.
func (c *checker) log() {
	const where = "log"
	running := c.office.serverHolds()
	st, err := mailstore.InspectLog(c.office.Root, running)
	if err != nil {
		c.failed(where, ProblemLog, err, c.damageHint())
		return
	}
	for _, name := range st.DamagedFiles {
		c.found(Finding{
			Where: where, Problem: ProblemLog, File: name,
			Text: "a damaged part of the log, kept for you to see; its complete messages were delivered, others of the same seconds may be lost",
			Hint: fmt.Sprintf("ask the senders of these seconds to send again; check the disk for faults; then 'rm %s'", c.whole(name)),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(st.Damage)) {
		c.found(Finding{
			Where: where, Problem: ProblemLog, File: name, Text: "damaged: " + st.Damage[name],
			Hint: "the next start of the server delivers its complete messages, and keeps the file",
		})
	}
	if st.Pending > 0 {
		c.found(Finding{
			Where: where, Problem: ProblemLog, Note: true,
			Text: fmt.Sprintf("%d files of accepted mail and of the queue are still in the log, because the server did not stop cleanly", st.Pending),
			Hint: "the next start of the server, or an 'admin' command that needs them, moves them to their places",
		})
	}
	if st.Exists && !st.Reserve {
		c.found(Finding{
			Where: where, Problem: ProblemLog, Note: !running,
			Text: "the log has no reserved disk space, so the server accepts no mail",
			Hint: fmt.Sprintf("free %.1f MB on the disk of %s; the server reserves the space within seconds", float64(st.ReserveSize)/1e6, c.office.Root.Name()),
		})
	}
}
