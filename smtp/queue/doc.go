// Package queue keeps mail for other servers until it is delivered or given up. Start with Queue,
// Item and Deliverer.
//
// The delivery package and the SMTP server put messages in (Add). Administrators list and change
// them (List, Do). ETRN and ATRN clients fetch the mail held for them (FlushETRN, Claim). The queue
// decides when to try which message; a Deliverer makes the attempt, and Parts.Report the reports.
// The queue must never lose a message: it leaves only when every recipient is done and every report
// is durable, or when an administrator removes it.
//
// # Disk
//
// The spool is the queue; the index in memory is built from it. Each message has two files in
// data/queue (mailstore.Spool): <id>.eml is the message, <id>.env its state, the JSON form of Item.
// Message and state are durable before the client gets its 250. A small message that goes only to
// the queue is then in the log of the store alone. It gets its files a moment later, or never if it
// has left by then.
//
// The state is replaced after each attempt and after each change, and it is durable when
// Spool.Update returns. A crash during an attempt therefore repeats the attempt: the recipient may
// get the message twice, never not at all. A panic in Deliver admin-holds the message. States that
// cannot be parsed, and messages that cause a panic elsewhere in the queue, go to
// data/queue/quarantine.
//
// # States of a message
//
//	 Add (new mail); readAll, Rescan, Readmit (from disk)
//	                        |
//	                        v         Hold; panic in Deliver
//	unreadable <-------> indexed ---------------------------> admin-held
//	(read again           |   ^                               (no slots)
//	 each minute)         |   '----------------------------------'
//	     |                |                 Release
//	     | corrupt        |
//	     v                | all recipients done, no report pending (save); Remove
//	 quarantine           v
//	 (also after       removed from the spool
//	  a panic)
//
// An indexed message has one slot for each destination with a pending recipient. A destination is
// one queue of messages for the same next hop. If it is unreachable, all its messages wait, and no
// others.
//
//	          fileLocked           a worker takes it
//	(none) ------------> waiting --------------------> trying ---> gone
//	                      |   ^                          ^
//	                flush |   | recallLocked             | a worker takes it
//	                      v   | (unreachable)            |
//	                     released -----------------------'
//
// After the attempt, save files the message again: each deferred recipient waits in a new slot. At
// a destination for ETRN-held mail (route.Route.Hold), slots wait until a flush or an ATRNSession
// takes them. A retry (expediteLocked) makes a slot due now but leaves it in waiting.
//
// A recipient is pending until an attempt, its expiry or a bounce sets Done. That may set
// PendingDSN, which stays until Report has succeeded (sendDSNs).
//
// # Goroutines
//
//   - schedule, one, in Run: waits until work is due, starts workers, passes on overdue messages.
//   - readAll, one, after the start: indexes the messages of earlier runs.
//   - tryAll, the workers: one for each connection, at most Config.Connections. A worker makes one
//     attempt after the other for its destination and then ends. A destination that finds no free
//     worker waits in Queue.waiting.
//   - reportOverdue, a few: make the reports of delay, expire messages, repeat failed writes.
//   - The caller's goroutine runs everything else, such as Do and ATRNSession.Run.
//
// # Locks
//
// Take them in this order: Queue.seenMu (the clock check), live.mu (one item), Queue.mu (the index,
// all slots and destinations). A goroutine never holds two live.mu. live.mu is held during disk
// writes and reports, but not during an attempt. Queue.mu is never held during disk or network
// operations.
//
// The caller of a function with the suffix Locked holds Queue.mu; other functions take it if they
// need it. The caller of a function with a *live parameter holds its live.mu, unless no other
// goroutine can know the item yet; acquire and release need no lock.
package queue
