package checks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/doctor"
	"pillarbox/cmd/internal/selftest"
	"pillarbox/quota"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
)

// relay tries to relay through each listener, without a login.
func (e *Env) relay(ctx context.Context) findings {
	var results []selftest.RelayResult
	err := selftest.Relay(ctx, e.Data, func(r selftest.RelayResult) {
		results = append(results, r)
	})
	if err != nil {
		return failed("the test of relaying did not begin", err)
	}
	return judgeRelay(results)
}

func judgeRelay(results []selftest.RelayResult) (all findings) {
	tried := 0
	for _, r := range results {
		tried += r.Tried
		at := r.Service + " " + r.Address
		switch {
		case len(r.Open) > 0:
			all = append(all, about(at,
				problem("'pillarbox admin explain --ip 127.0.0.1 --to x@relay-test.invalid' "+
					"names the rule",
					"the listener %s relays for anyone on this machine: %d of %d tricks got "+
						"through", at, len(r.Open), r.Tried)))
		case r.Err != nil:
			all = append(all, about(at, warning(hintOf(r.Err,
				"'pillarbox selftest relay' repeats the test"),
				"the listener %s could not be tested: %v", at, r.Err)))
		}
	}
	return orOK(all, "none of %d tricks got through", tried)
}

// smartHost tests the connection to each smart host, and the login there. No message is sent.
func (e *Env) smartHost(ctx context.Context) (all findings) {
	tested := 0
	for _, q := range smartHosts(e.Config.Routes) {
		report, err := e.Server.TestRoute(ctx, admin.RouteQuestion{To: q.to})
		if err != nil {
			all = append(all, about(q.route, failed("the route "+q.route+" could not be tested",
				err)[0]))
			continue
		}
		tested++
		if f, failed := judgeRoute(q, report.Steps); failed {
			all = append(all, f)
		}
	}
	if len(all) == 0 && tested == 0 {
		return ok("no route has a smart host")
	}
	return orOK(all, "%d smart hosts accept the connection and the login", tested)
}

// routeTest is a recipient whose mail takes a route with a smart host.
type routeTest struct {
	route string
	to    string
	login bool // the route logs in
}

// smartHosts returns a recipient for each route with a smart host.
func smartHosts(table route.Table) (all []routeTest) {
	for _, r := range append(slices.Clone(table.Routes), table.Default) {
		if len(r.SmartHost) == 0 || r.LMTP || r.Hold {
			continue
		}
		domain := smtp.SelfTestDomain
		if len(r.Domains) > 0 && r.Domains[0] != "*" {
			domain = strings.Replace(r.Domains[0], "*.", "test.", 1)
		}
		all = append(all, routeTest{r.Name, "postmaster@" + domain, r.User != ""})
	}
	return all
}

// judgeRoute finds the step that failed before the smart host was ready for mail. What it says about
// the recipient does not count. Of several hosts one is enough.
func judgeRoute(q routeTest, steps []remote.Step) (f doctor.Finding, failed bool) {
	ready := "ehlo"
	if q.login {
		ready = "auth"
	}
	var last *remote.Step
	for i, s := range steps {
		switch {
		case s.OK && s.Name == ready:
			return f, false
		case !s.OK:
			last = &steps[i]
		}
	}
	show := "'pillarbox admin route test " + q.to + "' shows each step"
	if last == nil {
		return about(q.route, problem(show, "the smart host of the route %s was not ready for mail",
			q.route)), true
	}
	return about(q.route, problem(cmp.Or(last.Hint, show),
		"the smart host of the route %s, step %s: %s", q.route, last.Name, last.Text)), true
}

// quota reports mailboxes and domains that are full, or nearly.
func (e *Env) quota(context.Context) findings {
	all, err := e.Data.ListQuotas("", 1)
	if err != nil {
		return failed("the mailboxes could not be counted", err)
	}
	return judgeQuotas(all)
}

func judgeQuotas(list []admin.QuotaStatus) (all findings) {
	for _, s := range list {
		fix := fmt.Sprintf("ask the user to delete mail, or 'pillarbox admin quota set %s "+
			"--size …'", s.Target)
		switch s.State {
		case admin.QuotaFull:
			all = append(all, about(s.Target, problem(fix, "%s is full (%d %%) and gets no mail",
				s.Target, s.Percent)))
		case admin.QuotaWarning:
			all = append(all, about(s.Target, warning(fix, "%s has used %d %% of its quota",
				s.Target, s.Percent)))
		}
	}
	return orOK(first(mostClients, all, "'pillarbox admin quota list'"),
		"no mailbox is near its quota")
}

// queueView is what the check of the queue looks at.
type queueView struct {
	count        int
	oldest       time.Time // zero: empty
	held, newer  int
	destinations []queue.Destination
}

// queue reports mail that waits for long, is held, or whose destination cannot be reached.
func (e *Env) queue(ctx context.Context) findings {
	list, err := e.Server.Queue(ctx, admin.QueueQuestion{Limit: 1})
	if err != nil {
		return failed("the queue cannot be listed", err)
	}
	held, err := e.Server.Queue(ctx, admin.QueueQuestion{Choice: admin.QueueChoice{Held: true},
		Limit: 1})
	if err != nil {
		return failed("the queue cannot be listed", err)
	}
	v := queueView{count: list.Count, held: held.Count, newer: len(list.Newer),
		destinations: list.Destinations}
	if len(list.Messages) > 0 {
		v.oldest = list.Messages[0].Arrived
	}
	return judgeQueue(v, e.Now())
}

func judgeQueue(v queueView, now time.Time) (all findings) {
	const late = 4 * time.Hour
	for _, d := range v.destinations {
		if d.Failures == 0 || d.Waiting+d.Trying == 0 {
			continue
		}
		why := ""
		if d.Last != nil {
			why = ": " + d.Last.Reply.Text
		}
		all = append(all, about(d.Key,
			warning("'pillarbox admin queue list' shows the messages; 'pillarbox admin route "+
				"test ADDRESS' tests the route",
				"%s for %q, which could not be reached %d times%s",
				waiting(d.Waiting+d.Trying), d.Key, d.Failures, why)))
	}
	all = first(mostClients, all, "'pillarbox admin queue list'")
	if v.held > 0 {
		all = append(all, about("held",
			warning("'pillarbox admin queue list --held' shows them; 'pillarbox admin queue "+
				"release' sends them",
				"%s, held by an administrator", waiting(v.held))))
	}
	if v.newer > 0 {
		all = append(all, about("newer", warning("start the newer release again: it sends them",
			"%s that only a newer release can send", waiting(v.newer))))
	}
	if age := now.Sub(v.oldest); !v.oldest.IsZero() && age > late && len(all) == 0 {
		all = append(all, about("oldest",
			warning("'pillarbox admin queue list' says what each message waits for",
				"the oldest message has waited for %d h", int(age.Hours()))))
	}
	if v.count == 0 {
		return orOK(all, "the queue is empty")
	}
	return orOK(all, "%s, none for long", waiting(v.count))
}

func waiting(n int) string {
	if n == 1 {
		return "1 message waits"
	}
	return quota.FormatMessages(int64(n)) + " wait"
}

// quarantine reports messages in quarantine.
func (e *Env) quarantine(context.Context) findings {
	list, err := e.Data.ListQuarantine()
	if err != nil {
		return failed("the quarantine cannot be read", err)
	}
	return judgeQuarantine(list)
}

func judgeQuarantine(list []admin.Spooled) (all findings) {
	for _, s := range list {
		text := s.ID + " was moved out of the queue"
		if s.Problem != "" {
			text += ": " + s.Problem
		}
		all = append(all, about(s.ID, problem(s.QuarantineHint(), "%s", text)))
	}
	return orOK(first(mostClients, all, "'pillarbox admin queue quarantine list'"),
		"no message is in quarantine")
}
