package web

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/audit"
	"pillarbox/cmd/internal/doctor"
	"pillarbox/mailstore/sessions"
	"pillarbox/mailstore/track"
	"pillarbox/smtp/policy"
)

func showOverview(r *request) (view, error) {
	s, err := admin.ServerStatus.Do(r.Context(), r.service, struct{}{})
	if err != nil {
		return view{}, err
	}
	slices.Reverse(s.Errors)
	return view{"overview", "Overview", overview{s, newChart(s.Hours)}}, nil
}

// overview is what the page "overview" shows.
type overview struct {
	admin.Status
	Chart chart
}

// Sessions is the number of all clients that are connected.
func (o overview) Sessions() (n int) {
	for _, s := range o.Services {
		n += s.Sessions
	}
	return n
}

// DiskPercent is how much of the disk is in use.
func (o overview) DiskPercent() int { return bar(o.Disk.Size-o.Disk.Free, o.Disk.Size) }

// Warning levels of the overview.
const (
	diskWarning        = 90 // percent
	certificateWarning = 14 // days
)

// DiskLow reports whether the disk is nearly full.
func (o overview) DiskLow() bool { return o.DiskPercent() >= diskWarning }

// Ending returns the certificates that end soon.
func (o overview) Ending() (all []admin.CertificateStatus) {
	for _, c := range o.Certificates {
		if c.Days < certificateWarning {
			all = append(all, c)
		}
	}
	return all
}

// Healthy reports whether nothing wants the administrator.
func (o overview) Healthy() bool {
	return o.Running && !o.DiskLow() && len(o.Ending()) == 0 && len(o.Problems) == 0 &&
		o.Quarantine == 0 && len(o.Findings()) == 0
}

// doctorFinding is a problem that 'pillarbox doctor' has found, with what mends it.
type doctorFinding struct {
	doctor.Problem
	Remedy []remedyPart
	Page   mending
}

// Bad reports whether it is an error, not a warning.
func (f doctorFinding) Bad() bool { return f.Severity == doctor.Error }

// Findings are the problems that the last run of 'pillarbox doctor' has found.
func (o overview) Findings() (all []doctorFinding) {
	if o.Doctor == nil {
		return nil
	}
	for _, p := range o.Doctor.Problems {
		all = append(all, doctorFinding{p, remedyParts(p.Fix), mendingOf(p.Check)})
	}
	return all
}

// queuePage is what the page "queue" shows.
type queuePage struct {
	Choice    admin.QueueChoice
	Found     admin.QueueFound
	MayChange bool
}

// maxQueued is the number of messages on the page of the queue: the oldest.
const maxQueued = 200

func showQueue(r *request) (view, error) {
	p := queuePage{
		Choice: admin.QueueChoice{
			Domain: r.FormValue("domain"), To: r.FormValue("to"), From: r.FormValue("from"),
			Older: r.FormValue("older"), Held: r.FormValue("held") != "",
		},
		MayChange: r.operator.MayAll(true),
	}
	var err error
	p.Found, err = admin.QueueList.Do(r.Context(), r.service,
		admin.QueueQuestion{Choice: p.Choice, Limit: maxQueued})
	if errors.Is(err, admin.ErrUsage) && r.problem == nil { // of the filter: the page says it above all
		r.problem = problemOf(err)
		p.Found, err = admin.QueueList.Do(r.Context(), r.service, admin.QueueQuestion{Limit: maxQueued})
	}
	return view{"queue", "Queue", p}, err
}

// orderQueue does a verb to the messages whose boxes are checked.
func orderQueue(r *request) (outcome, error) {
	verbs := map[string]admin.Verb[admin.QueueOrder, admin.QueueDone]{
		"retry": admin.QueueRetry, "hold": admin.QueueHold, "release": admin.QueueRelease,
		"bounce": admin.QueueBounce, "remove": admin.QueueRemove,
	}
	v, ok := verbs[r.field("act")]
	if !ok {
		return outcome{}, errNoPage
	}
	in := admin.QueueOrder{Choice: admin.QueueChoice{Words: r.PostForm["id"]}, Sure: r.sure()}
	if in.Sure {
		in.Confirmed = r.PostForm["id"]
	}
	done, err := v.Do(r.Context(), r.service, in)
	text := r.words.T("Done to %d messages.", done.Count)
	return outcome{next: "/queue", notice: notice{Text: text}}, err
}

var errNoPage = errors.New("there is no such page")

// tracePage is what the page "trace" shows.
type tracePage struct {
	Query   string
	Asked   bool
	Stories track.Stories
}

func showTrace(r *request) (view, error) {
	p := tracePage{Query: r.FormValue("name")}
	q := admin.TraceQuestion{Query: track.Query{
		Name: p.Query, From: r.FormValue("from"), To: r.FormValue("to"), Subject: r.FormValue("subject"),
	}}
	p.Asked = p.Query != "" || q.From != "" || q.To != "" || q.Subject != ""
	if hours, err := strconv.Atoi(r.FormValue("hours")); err == nil && hours > 0 {
		q.Since = time.Now().Add(-time.Duration(min(hours, 10*366*24)) * time.Hour)
	}
	if !p.Asked {
		return view{"trace", "Where is my mail?", p}, nil
	}
	var err error
	p.Stories, err = admin.Trace.Do(r.Context(), r.service, q)
	slices.Reverse(p.Stories.Messages)
	return view{"trace", "Where is my mail?", p}, err
}

// explainPage is what the page "explain" shows.
type explainPage struct {
	Services []string
	Asked    bool
	admin.Explanation
}

func showExplain(r *request) (view, error) {
	p := explainPage{Services: []string{"smtp", "submission", "smtps"}}
	q := admin.Question{
		User: r.FormValue("user"), From: r.FormValue("from"), To: r.FormValue("to"),
		Trace: r.FormValue("trace"),
	}
	p.Asked = q.Trace != "" || q.To != "" || r.FormValue("ip") != ""
	if !p.Asked {
		return view{"explain", "Explain a decision", p}, nil
	}
	err := p.ask(r, q)
	if err != nil && !errors.Is(err, admin.ErrNotPermitted) {
		r.problem, p.Asked, err = problemOf(err), false, nil
	}
	return view{"explain", "Explain a decision", p}, err
}

func (p *explainPage) ask(r *request, q admin.Question) (err error) {
	if q.Trace == "" {
		if q.IP, err = admin.ParseClient(r.FormValue("ip")); err != nil {
			return err
		}
		if q.Service, err = admin.ParseService(cmp.Or(r.FormValue("service"), "smtp")); err != nil {
			return err
		}
		q.TLS = q.User != ""
	}
	r.elsewhere(func() { p.Explanation, err = admin.Explain.Do(r.Context(), r.service, q) })
	return err
}

// Last is the decision that counts: a refusal, or that of the last stage.
func (p explainPage) Last() policy.Decision { return p.Decisions[len(p.Decisions)-1] }

// Accepted reports whether the mail is accepted.
func (p explainPage) Accepted() bool { return p.Last().Verdict == policy.Accept }

// sessionList is what the page "sessions" shows.
type sessionList struct {
	Rows    []sessions.Info
	MayKill bool
	pages
}

func showSessions(r *request) (view, error) {
	all, err := admin.SessionList.Do(r.Context(), r.service, struct{}{})
	l := sessionList{MayKill: r.operator.MayAll(true)}
	l.Rows, l.pages = cut(r, all)
	return view{"sessions", "Sessions", l}, err
}

func killSession(r *request) (outcome, error) {
	id, err := strconv.ParseUint(r.field("id"), 10, 64)
	if err != nil {
		return outcome{}, errNoPage
	}
	c, err := admin.SessionKill.Do(r.Context(), r.service, id)
	return then("/sessions", c, err)
}

// auditList is what the page "audit" shows: the newest first.
type auditList struct {
	Object string
	Rows   []audit.Event
	pages
}

func showAudit(r *request) (view, error) {
	l := auditList{Object: r.FormValue("object")}
	all, err := admin.AuditShow.Do(r.Context(), r.service, admin.AuditQuestion{Object: l.Object})
	slices.Reverse(all)
	l.Rows, l.pages = cut(r, all)
	return view{"audit", "Audit log", l}, err
}
