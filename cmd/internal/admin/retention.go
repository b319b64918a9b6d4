package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// RetentionState is the state of the daily deletion in a mailbox.
type RetentionState string

// The values of RetentionState.
const (
	RetentionOff     RetentionState = "off"     // the mailbox has no rule
	RetentionNew     RetentionState = "new"     // no server has read the rule yet
	RetentionWaiting RetentionState = "waiting" // the rule is less than a day old
	RetentionActive  RetentionState = "active"  // mail that is due is deleted once a day
	RetentionHeld    RetentionState = "held"    // active, but late mail is kept for a week: see decide
	RetentionDamaged RetentionState = "damaged" // the account cannot be read, so no mail is deleted
)

// RetentionResult is the mail that was deleted from a mailbox, or would be.
type RetentionResult struct {
	Mailbox addr.Address   `json:"mailbox"`
	Rule    mailstore.Rule `json:"rule"` // in days; 0: never
	mailstore.Expired
	Problem string `json:"problem,omitempty"` // the reason why mail was left
}

// RetentionStatus is the rule of a mailbox, and the mail that is due now.
type RetentionStatus struct {
	RetentionResult
	From  RetentionSource `json:"from"`
	State RetentionState  `json:"state"`
	Until *time.Time      `json:"until"` // the end of waiting or held; null in other states
}

// RetentionSource is the origin of each part of a rule: "mailbox", "domain" or "default".
type RetentionSource struct {
	After        string `json:"after"`
	FetchedAfter string `json:"fetched_after"`
}

// ruleOf returns the effective rule of a mailbox.
func (o *Service) ruleOf(box directory.Mailbox) mailstore.Rule {
	return ruleFrom(box.Account.Retention.Or(box.DomainRetention).Or(o.defaultRetention()))
}

func (o *Service) defaultRetention() directory.Retention {
	m := &o.Config().Mailboxes
	return directory.Retention{DeleteAfter: m.DeleteAfter, DeleteFetchedAfter: m.DeleteFetchedAfter}
}

func ruleFrom(r directory.Retention) mailstore.Rule {
	return mailstore.Rule{After: max(r.DeleteAfter, 0), FetchedAfter: max(r.DeleteFetchedAfter, 0)}
}

// NotesFetched reports whether the server must record which messages of a mailbox were fetched.
func (o *Service) NotesFetched(dir string) bool {
	box, err := o.Dir.MailboxAt(dir)
	return err == nil && o.ruleOf(box).FetchedAfter > 0
}

// KeptDays returns the number of days for which a mailbox keeps mail at least; 0 means for ever.
// For "", before a login, it is the smallest number of the domains and the configuration.
func (o *Service) KeptDays(dir string) int {
	if dir != "" {
		box, err := o.Dir.MailboxAt(dir)
		if err != nil {
			return 0
		}
		return leastDays(o.ruleOf(box))
	}
	least := leastDays(ruleFrom(o.defaultRetention()))
	domains, _ := o.Dir.Domains()
	for _, d := range domains {
		if file, err := o.Dir.Domain(d); err == nil {
			least = lesser(least, leastDays(ruleFrom(file.Retention.Or(o.defaultRetention()))))
		}
	}
	return least
}

func leastDays(r mailstore.Rule) int { return lesser(r.After, r.FetchedAfter) }

// lesser returns the smaller number of days; 0 means for ever.
func lesser(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// boxes calls fn for one mailbox, for those of a domain, or for all if target is "". It ends if ctx
// does.
func (o *Service) boxes(ctx context.Context, target string, fn func(directory.Mailbox) error) error {
	domain := ""
	if target != "" {
		d, isDomain, err := o.targetDomain(target, "retention show")
		if err != nil {
			return err
		}
		if !isDomain {
			box, err := o.mailbox(target)
			if err != nil {
				return err
			}
			return fn(box)
		}
		domain = string(d)
	}
	return o.files(domain, func(d addr.Domain, _ *directory.DomainFile) error {
		all, err := o.Dir.MailboxesAsFound(d)
		for _, box := range all {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = fn(box)
			}
		}
		return err
	})
}

// wouldExpire returns the mail that the rule would delete now.
func (o *Service) wouldExpire(box directory.Mailbox, rule mailstore.Rule, now time.Time) (RetentionResult, error) {
	r := RetentionResult{Mailbox: box.Address, Rule: rule}
	if rule.None() {
		return r, nil
	}
	var err error
	r.Expired, err = o.Store.WouldExpire(box.Dir, rule, time.Time{}, now)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		err = nil // removed since the listing
	}
	return r, err
}

// ShowRetention returns the rule and the due mail of one mailbox, of those of a domain, or of all
// for "".
func (o *Service) ShowRetention(target string, now time.Time) ([]RetentionStatus, error) {
	all := []RetentionStatus{}
	seen := o.readWatched(now)
	err := o.boxes(context.Background(), target, func(box directory.Mailbox) error {
		if box.Damage != nil {
			all = append(all, RetentionStatus{RetentionResult: RetentionResult{Mailbox: box.Address}, State: RetentionDamaged})
			return nil
		}
		r, err := o.wouldExpire(box, o.ruleOf(box), now)
		s := RetentionStatus{RetentionResult: r, From: retentionSource(box)}
		s.State, s.Until = seen.state(box.Dir, r.Rule, now)
		all = append(all, s)
		return err
	})
	return all, err
}

func retentionSource(box directory.Mailbox) RetentionSource {
	from := func(own, domain int) string {
		switch {
		case own != 0:
			return "mailbox"
		case domain != 0:
			return "domain"
		}
		return "default"
	}
	own, domain := box.Account.Retention, box.DomainRetention
	return RetentionSource{
		After:        from(own.DeleteAfter, domain.DeleteAfter),
		FetchedAfter: from(own.DeleteFetchedAfter, domain.DeleteFetchedAfter),
	}
}

func (o *Service) showRetention(target string) ([]RetentionStatus, error) {
	return o.ShowRetention(target, time.Now())
}

// DueNow returns the mail that RunRetention would delete. It leaves out mailboxes without any.
func (o *Service) DueNow(target string, now time.Time) ([]RetentionResult, error) {
	all := []RetentionResult{}
	err := o.boxes(context.Background(), target, func(box directory.Mailbox) error {
		if box.Damage != nil {
			return nil
		}
		r, err := o.wouldExpire(box, o.ruleOf(box), now)
		if r.Messages > 0 {
			all = append(all, r)
		}
		return err
	})
	return all, err
}

// RetentionOrder is the input of RetentionRun: a mailbox, a domain or, for "", all there are. Without
// Delete it only shows what is due.
type RetentionOrder struct {
	Target string
	Delete bool
}

func (o *Service) runRetention(ctx context.Context, in RetentionOrder) (all []RetentionResult, err error) {
	now := time.Now()
	due, err := o.DueNow(in.Target, now)
	if err != nil || !in.Delete {
		return due, err
	}
	err = o.alone(func() (err error) {
		all, err = o.RunRetention(ctx, in.Target, now)
		return err
	})
	return all, err
}

// RunRetention deletes all mail that is due, without waiting for new rules: from one mailbox, from
// those of a domain, or from all for "". A mailbox in use, or with another problem, does not stop
// it; the result states the problem. It must run in the process that serves the data directory, or
// while no server runs.
func (o *Service) RunRetention(ctx context.Context, target string, now time.Time) ([]RetentionResult, error) {
	if err := o.RequireTarget(target, true); err != nil {
		return nil, err
	}
	all := []RetentionResult{}
	permitted, refused := false, error(nil)
	err := o.boxes(ctx, target, func(box directory.Mailbox) error {
		r := RetentionResult{Mailbox: box.Address}
		problem := o.requireName(box.Address) // it belongs to an operator with more rights
		if problem == nil {
			permitted, problem = true, box.Damage
		} else {
			refused = problem
		}
		if problem != nil {
			r.Problem = problem.Error()
			all = append(all, r)
			return nil
		}
		if r.Rule = o.ruleOf(box); r.Rule.None() {
			return nil
		}
		var err error
		r.Expired, err = o.Store.Expire(ctx, box.Dir, r.Rule, time.Time{}, now, o.expired(box))
		if r.Problem = retentionProblem(err); r.Messages > 0 || r.Problem != "" {
			all = append(all, r)
		}
		if r.Messages > 0 {
			o.Record(r.Mailbox.String(), nil, map[string]any{"deleted": r.Messages, "bytes": r.Bytes, "rule": r.Rule.String()})
		}
		return ctx.Err()
	})
	if err == nil && !permitted {
		err = refused
	}
	return all, err
}

func retentionProblem(err error) string {
	switch {
	case err == nil, errors.Is(err, mailstore.ErrNoMailbox): // removed since the listing
		return ""
	case errors.Is(err, mailstore.ErrInUse):
		return "the mailbox is in use; its mail stays until the next run"
	}
	return err.Error()
}

// RetentionChange is a change of a rule, in the form of the command line. "" leaves a part
// unchanged.
type RetentionChange struct {
	After        string // "30", "never" or "default"
	FetchedAfter string // "7", "never" or "default"
}

// RetentionPreview is the effect of a RetentionChange.
type RetentionPreview struct {
	Target   string            `json:"target"` // the mailbox's address, or the domain
	Domain   bool              `json:"domain"`
	Before   mailstore.Rule    `json:"before"`
	After    mailstore.Rule    `json:"after"`
	Stricter bool              `json:"stricter"` // the new rule deletes some mail earlier
	Due      []RetentionResult `json:"due"`      // the mail that is due under the new rule
	Total    mailstore.Expired `json:"total"`    // the sum of Due
	edit     func(*directory.Retention)
}

// PreviewRetention returns the effect of a change without making it.
func (o *Service) PreviewRetention(target string, c RetentionChange, now time.Time) (RetentionPreview, error) {
	edit, err := c.edit()
	if err != nil {
		return RetentionPreview{}, err
	}
	d, isDomain, err := o.targetDomain(target, "retention show")
	if err != nil {
		return RetentionPreview{}, err
	}
	if err := o.RequireTarget(target, false); err != nil {
		return RetentionPreview{}, err
	}
	p := RetentionPreview{Target: string(d), Domain: isDomain, Due: []RetentionResult{}, edit: edit}
	if isDomain {
		file, err := o.Dir.Domain(d)
		if err != nil {
			return p, o.explain(err, d, "domain list")
		}
		p.compare(file.Retention, o.defaultRetention())
	} else {
		box, err := o.mailbox(target)
		if err != nil {
			return p, err
		}
		p.Target = box.Address.String()
		p.compare(box.Account.Retention, box.DomainRetention.Or(o.defaultRetention()))
	}
	return p, o.previewDue(&p, target, now)
}

// compare sets the old and the new rule.
func (p *RetentionPreview) compare(own, next directory.Retention) {
	p.Before = ruleFrom(own.Or(next))
	p.edit(&own)
	p.After = ruleFrom(own.Or(next))
	p.Stricter = p.After.Stricter(p.Before)
}

func (o *Service) previewDue(p *RetentionPreview, target string, now time.Time) error {
	return o.boxes(context.Background(), target, func(box directory.Mailbox) error {
		if box.Damage != nil {
			return nil
		}
		if p.Domain {
			p.edit(&box.DomainRetention)
		} else {
			p.edit(&box.Account.Retention)
		}
		r, err := o.wouldExpire(box, o.ruleOf(box), now)
		if r.Messages > 0 {
			p.Due = append(p.Due, r)
			p.Total = p.Total.Add(r.Expired)
		}
		return err
	})
}

// RetentionToSet is the input of RetentionSet. Sure skips the question before a stricter rule.
type RetentionToSet struct {
	Target string
	RetentionChange
	Sure bool
}

// RetentionDone is what RetentionSet has done, or would do.
type RetentionDone struct {
	RetentionPreview
	Changed  bool     `json:"changed"`
	Warnings []string `json:"warnings"`
}

// RetentionAnswer is a RetentionDone with the text of the Change.
type RetentionAnswer struct {
	RetentionDone
	Text string
}

// setRetention shows what a change would do, and does it. It asks before a stricter rule, because
// deleted mail is gone.
func (o *Service) setRetention(in RetentionToSet) (done RetentionAnswer, err error) {
	done.Warnings = []string{}
	if done.RetentionPreview, err = o.PreviewRetention(in.Target, in.RetentionChange, time.Now()); err != nil {
		return done, err
	}
	if done.Stricter {
		if err := confirm(in.Sure, "Let %s delete mail %s?", done.Target, done.After); err != nil {
			return done, err
		}
	}
	change, err := o.ChangeRetention(done.RetentionPreview)
	done.Changed, done.Warnings, done.Text = err == nil, orEmpty(change.Warnings), change.Text
	return done, err
}

// ChangeRetention makes a previewed change. It deletes no mail: see RetentionRound.
func (o *Service) ChangeRetention(p RetentionPreview) (Change, error) {
	done := "deletes mail " + p.After.String()
	if p.After.None() {
		done = "deletes no mail automatically"
	}
	var warnings []string
	if !p.After.None() {
		warnings = append(warnings, fmt.Sprintf("the server deletes once a day. A new rule waits a day, and mail that was due before it waits a week. "+
			"'pillarbox admin retention run %s --yes' deletes now", p.Target))
	}
	if p.Before.FetchedAfter == 0 && p.After.FetchedAfter > 0 {
		warnings = append(warnings, "fetches count from now on: earlier ones were not recorded, so mail that was fetched before stays until it is fetched again")
	}
	if p.Domain {
		return o.changeDomain(p.Target, done, func(d addr.Domain) ([]string, error) {
			return warnings, o.Dir.UpdateDomain(d, func(f *directory.DomainFile) error { p.edit(&f.Retention); return nil })
		})
	}
	c, err := o.updateAccount(p.Target, done, func(acc *directory.Account) error { p.edit(&acc.Retention); return nil })
	c.Warnings = orEmpty(warnings)
	return c, err
}

// edit parses both fields and returns the change. An error in one field prevents the whole change.
func (c RetentionChange) edit() (func(*directory.Retention), error) {
	if c == (RetentionChange{}) {
		return nil, Hint(errors.New("there is nothing to change"), "give a rule, such as --after 365 or --fetched-after 7")
	}
	after, err := parseDays(c.After)
	fetched, err2 := parseDays(c.FetchedAfter)
	if err := errors.Join(err, err2); err != nil {
		return nil, Hint(err, "write a number of days from 1 to %d, or never, or default", config.MaxDays)
	}
	return func(r *directory.Retention) {
		if c.After != "" {
			r.DeleteAfter = after
		}
		if c.FetchedAfter != "" {
			r.DeleteFetchedAfter = fetched
		}
	}, nil
}

// parseDays parses a number of days into the form of directory.Retention.
func parseDays(text string) (int, error) {
	switch strings.ToLower(text) {
	case "", "default":
		return 0, nil
	case "never":
		return -1, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n < 1 || n > config.MaxDays {
		return 0, fmt.Errorf("%q is not a number of days", text)
	}
	return int(n), nil
}
