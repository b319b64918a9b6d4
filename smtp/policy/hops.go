package policy

import (
	"strconv"

	"pillarbox/smtp"
)

// hops refuses a message that has passed too many servers, which means a loop (RFC 5321 §6.3).
func (r *Rules) hops(d *Decision, f *Facts) bool {
	limit := r.MaxHops
	if limit.Value == 0 || f.Hops <= limit.Value {
		return true
	}
	d.step("smtp.max_hops", limit.Origin, strconv.Itoa(f.Hops), "servers have handled the message")
	return d.refuse(smtp.NewReply(554, [3]int{5, 4, 6}, "Too many hops: the message has passed %d servers", f.Hops),
		"find the loop, or raise smtp.max_hops")
}
