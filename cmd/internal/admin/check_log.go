package admin

import (
	"fmt"
	"maps"
	"slices"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

// serverHolds reports whether a server has the data directory: then what is in its log is on its way to its place.
func (o *Service) serverHolds() bool {
	holder, err := durable.LockHolder(o.Root, DataLock)
	return err == nil && holder != nil && holder.As == ServerLock
}

// log looks at the log of mail that is on its way to its files.
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
			Text: "this part of the log was damaged, and is kept; the whole messages in it were delivered, others that came in the seconds before may be missing",
			Hint: fmt.Sprintf("ask the senders of these seconds to send again; look at the disk; then 'rm %s'", c.whole(name)),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(st.Damage)) {
		c.found(Finding{
			Where: where, Problem: ProblemLog, File: name, Text: "damaged: " + st.Damage[name],
			Hint: "the next start of the server takes the whole messages in it, and keeps the file",
		})
	}
	if st.Pending > 0 {
		c.found(Finding{
			Where: where, Problem: ProblemLog, Note: true,
			Text: fmt.Sprintf("%d files of acknowledged mail and of the queue are in the log, because the server did not end cleanly", st.Pending),
			Hint: "the next start of the server, or an 'admin' command that needs them, puts them in their places",
		})
	}
	if st.Exists && !st.Reserve {
		c.found(Finding{
			Where: where, Problem: ProblemLog, Note: !running,
			Text: "the log has no reserve of room on the disk, so the server takes no mail",
			Hint: fmt.Sprintf("make %.1f MB free on the disk of %s; the server makes the reserve within seconds", float64(st.ReserveSize)/1e6, c.office.Root.Name()),
		})
	}
}
