package dsn

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/smtp"
)

// statusPart returns the machine-readable part (RFC 3464 §2).
func (r *Report) statusPart(l layout) string {
	var b strings.Builder
	if l.global {
		l.begin(&b, "message/global-delivery-status", "8bit")
	} else {
		l.begin(&b, "message/delivery-status", "7bit")
	}
	f := fields{b: &b, global: l.global}
	f.add("Original-Envelope-Id", oneLine(r.EnvID, maxTitle))
	f.add("Reporting-MTA", "dns; "+r.host())
	if from := hostText(r.ReceivedFrom); from != "" {
		f.add("Received-From-MTA", "dns; "+from)
	}
	f.time("Arrival-Date", r.Arrived)
	for _, rcpt := range r.Recipients {
		b.WriteString("\r\n")
		f.recipient(rcpt, r.RetryUntil)
	}
	return b.String()
}

// fields writes the fields of the status part.
type fields struct {
	b      *strings.Builder
	global bool
}

func (f fields) add(name, value string) {
	if !f.global {
		value = toASCII(value)
	}
	if value != "" {
		fold(f.b, name, value)
	}
}

func (f fields) time(name string, t time.Time) {
	if !t.IsZero() {
		f.add(name, t.Format(time.RFC1123Z))
	}
}

// recipient writes the fields of one recipient (RFC 3464 §2.3). Addresses are not folded, because
// spaces in a quoted local part count.
func (f fields) recipient(rcpt Recipient, retryUntil time.Time) {
	if original := addressText(rcpt.ORcpt); original != "" {
		kind := strings.ToLower(token(cut(rcpt.ORcptType, 20)))
		if kind == "" {
			kind = addressType(original)
		}
		fmt.Fprintf(f.b, "Original-Recipient: %s; %s\r\n", kind, original)
	}
	final := addressText(rcpt.Final.String())
	fmt.Fprintf(f.b, "Final-Recipient: %s; %s\r\n", addressType(final), final)
	f.add("Action", string(rcpt.action()))
	status := rcpt.status()
	f.add("Status", fmt.Sprintf("%d.%d.%d", status[0], status[1], status[2]))
	if server := hostText(rcpt.Result.MTA); server != "" {
		f.add("Remote-MTA", "dns; "+server)
	}
	if words := words(rcpt.Result.Reply); words != "" {
		f.add("Diagnostic-Code", "smtp; "+words)
	}
	f.time("Last-Attempt-Date", rcpt.LastAttempt)
	if rcpt.action() == Delayed {
		f.time("Will-Retry-Until", retryUntil)
	}
}

// addressType returns the address type (RFC 3464 §2.1.2, RFC 6533 §3).
func addressType(address string) string {
	if isASCII(address) {
		return "rfc822"
	}
	return "utf-8"
}

// action returns the recipient's action. Unknown actions count as failures.
func (rcpt Recipient) action() Action {
	if slices.Contains(actions(), rcpt.Action) {
		return rcpt.Action
	}
	return Failed
}

// status returns the server's enhanced status code if its class fits the action, otherwise a
// generic code. A failure may have class 4: the queue gave up (RFC 3464 §2.3.4).
func (rcpt Recipient) status() [3]int {
	reply, class := rcpt.Result.Reply, 2
	switch rcpt.action() {
	case Failed:
		class = 5
		if reply.Temporary() || reply.Code == 0 && reply.Enhanced[0] == 4 {
			class = 4
		}
	case Delayed:
		class = 4
	}
	status := reply.Enhanced
	for _, n := range status {
		if n < 0 || n > 999 {
			return [3]int{class}
		}
	}
	if status[0] != class {
		return [3]int{class}
	}
	return status
}

// words returns a reply as on the wire, but on one line.
func words(reply smtp.Reply) string {
	var b strings.Builder
	if reply.Code >= 200 && reply.Code <= 599 {
		fmt.Fprintf(&b, "%d ", reply.Code)
	}
	if e := reply.Enhanced; e != [3]int{} {
		fmt.Fprintf(&b, "%d.%d.%d ", e[0], e[1], e[2])
	}
	return oneLine(b.String()+reply.Text, maxWords)
}
