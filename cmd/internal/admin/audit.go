package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/cmd/internal/audit"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// Actor is the user or program that acts, for the audit log.
type Actor struct {
	Who  string `json:"who"`           // "root (sudo by carol)", "anna@office.example", "server"
	From string `json:"from"`          // "command line, pts/1, 192.0.2.7", "control socket", "server"
	Act  string `json:"act,omitempty"` // the command: "mailbox passwd"; "": the server itself
}

// Server returns the actor for acts of the server itself.
func Server() Actor { return Actor{Who: "server", From: "server"} }

// Recorder writes the audit log for one actor.
type Recorder struct {
	log    *audit.Log
	actor  Actor
	failed func(error) // called if an event could not be recorded; may be nil
}

// NewRecorder returns a Recorder for a data directory. failed is called if an event could not be
// recorded; the act is complete all the same.
func NewRecorder(fsys durable.FS, actor Actor, failed func(error)) Recorder {
	return Recorder{audit.Open(fsys), actor, failed}
}

// Record records an act on an object. before and after are encoded as JSON, without the members
// that are equal in both. Each may be nil. They must hold no secret.
func (r Recorder) Record(object string, before, after any) {
	r.event(audit.Event{Object: object}, before, after, func(string) bool { return false })
}

// Refuse records that the actor was refused an act on an object.
func (r Recorder) Refuse(object, why string) {
	r.event(audit.Event{Object: object, Refused: why}, nil, nil, nil)
}

func (r Recorder) event(e audit.Event, before, after any, secret func(string) bool) {
	e.Who, e.From, e.Act = r.actor.Who, r.actor.From, r.actor.Act
	var err error
	if e.Before, e.After, err = audit.Differences(before, after, secret); err == nil {
		err = r.log.Add(e)
	}
	if err != nil && r.failed != nil {
		r.failed(fmt.Errorf("not recorded in the audit log: %w", err))
	}
}

// Changed records a change of the directory: see directory.Directory.Observed. Each changed alias
// and group of a domain is an event of its own.
func (r Recorder) Changed(c directory.Change) {
	if c.User != "" {
		r.mailboxChanged(c)
		return
	}
	before, after := c.DomainBefore, c.DomainAfter
	if before == nil || after == nil { // its aliases and groups come and go with it
		r.event(audit.Event{Object: string(c.Domain)}, before, after, secretOf)
		return
	}
	count := 0
	for _, part := range domainParts(before, after) {
		object := string(c.Domain)
		if part.local != "" {
			object = addr.Address{Local: part.local, Domain: c.Domain}.String()
		}
		r.event(audit.Event{Object: object}, part.before, part.after, secretOf)
		count++
	}
	if count == 0 {
		r.event(audit.Event{Object: string(c.Domain)}, before, after, secretOf)
	}
}

func (r Recorder) mailboxChanged(c directory.Change) {
	e := audit.Event{Object: c.Address().String()}
	switch {
	case c.What == directory.Edited && onlyUsedCodes(c.AccountBefore, c.AccountAfter):
		// A login at the page is no administrative act.
	case c.What == directory.Renamed:
		e.Next = c.Next.String()
		r.event(e, map[string]any{"address": c.Address()}, map[string]any{"address": c.Next}, secretOf)
	case c.What == directory.Removed && c.AccountBefore == nil:
		r.event(e, map[string]any{"damaged": true}, nil, secretOf)
	default:
		r.event(e, c.AccountBefore, c.AccountAfter, secretOf)
	}
}

// onlyUsedCodes reports whether all that differs between two states of an account is which codes of
// its second factor were used.
func onlyUsedCodes(before, after *directory.Account) bool {
	if before == nil || after == nil || slices.Equal(before.SecondFactors, after.SecondFactors) {
		return false
	}
	was, is := *before, *after
	for _, acc := range []*directory.Account{&was, &is} {
		acc.KnownNetworks = nil
		acc.SecondFactors = slices.Clone(acc.SecondFactors)
		for i := range acc.SecondFactors {
			acc.SecondFactors[i].Used = 0
		}
	}
	return sameJSON(was, is)
}

// secretOf reports whether the audit log must hide the value of an account's member. A member is
// secret unless it is listed here.
func secretOf(name string) bool {
	switch name {
	case "locked", "access", "forward", "keep_copy", "created", "send_as", "outside", "inbound", "held",
		"quota", "quota_messages", "quota_warn", "quota_warn_messages", "delete_after", "delete_fetched_after",
		"method", "store", "password_set", "client_certs", "app_passwords", "second_factors", "known_networks",
		"rules", "absence", "archive", "footer",
		"address", "damaged", "alias", "group", "catch_all", "names", "full_name":
		return false
	}
	return true
}

// AuditQuestion chooses events. The zero value chooses all.
type AuditQuestion struct {
	Since  time.Time // zero: all
	Object string    // "": all; a domain means all in it, too
	By     string    // the actor's name or a part of it; case does not matter
	Limit  int       // the largest number of events, the newest; 0 means no limit
}

// Audit returns events of the audit log, the newest last, and the number of its damaged lines. An
// operator of some domains gets the events of these domains.
func (o *Service) Audit(q AuditQuestion) ([]audit.Event, int, error) {
	all := o.operator == nil || o.operator.MayAll(false)
	by := strings.ToLower(q.By)
	found, damaged, err := o.recorder.log.Read(func(e audit.Event) bool {
		return !e.Time.Before(q.Since) && (q.Object == "" || e.Concerns(q.Object)) &&
			strings.Contains(strings.ToLower(e.Who), by) && (all || o.seesEvent(e))
	}, q.Limit)
	return append([]audit.Event{}, found...), damaged, o.explain(err, "", "domain list")
}

// showAudit is Audit as a verb.
func (o *Service) showAudit(q AuditQuestion) ([]audit.Event, error) {
	found, damaged, err := o.Audit(q)
	if damaged > 0 {
		o.note("%d lines of the log are damaged and not shown", damaged)
	}
	return found, err
}

func (o *Service) seesEvent(e audit.Event) bool {
	for _, g := range o.operator.Grants {
		for _, d := range g.Domains {
			if audit.In(e.Object, d) || audit.In(e.Next, d) {
				return true
			}
		}
	}
	return false
}

// By returns a view of the service that records changes under the name of an actor. If a mailbox or
// domain is renamed or removed, its entries in operators.json follow.
func (o *Service) By(actor Actor) *Service {
	view := *o
	view.recorder.actor = actor
	view.observe()
	return &view
}

// observe passes changes of the directory on to the audit log, to the operators, and to the last
// logins.
func (o *Service) observe() {
	o.Dir = o.Dir.Observed(func(c directory.Change) {
		o.recorder.Changed(c)
		changed, err := o.operators.follow(c)
		if err != nil && o.recorder.failed != nil {
			o.recorder.failed(fmt.Errorf("operators: %w", err))
		}
		for _, g := range changed {
			o.Record("operator "+g.name, g.before, g.after)
		}
		if c.What == directory.Renamed && c.User != "" {
			if err := o.LastLogins.Rename(c.Address(), c.Next); err != nil {
				o.note("%s loses its last login: %v", c.Next, err)
			}
		}
	})
}

// Record records an act that does not change the directory: see Recorder.Record.
func (o *Service) Record(object string, before, after any) { o.recorder.Record(object, before, after) }

// RecordRefusal records that the actor had no permission. It ignores other errors.
func (o *Service) RecordRefusal(err error) {
	if errors.Is(err, ErrNotPermitted) {
		o.recorder.Refuse("", strings.TrimPrefix(err.Error(), ErrNotPermitted.Error()+": "))
	}
}

// OnAuditFailure sets the function that is called if an event could not be recorded. Call it before
// For and By: their views copy the function.
func (o *Service) OnAuditFailure(tell func(error)) { o.recorder.failed = tell }
