package web

import (
	"errors"
	"net/http"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/cmd/internal/logging"
	"pillarbox/mailstore/auth"
	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

// optional drops the error of a verb that only a running server can do.
func optional[T any](v T, err error) (T, error) {
	if errors.Is(err, admin.ErrNotRunning) {
		err = nil
	}
	return v, err
}

// routesPage is what the page "routes" shows.
type routesPage struct {
	Routes []admin.RouteSummary
	To     string
	Report *admin.RouteReport // of the test that was asked for
	Fetch  []fetch.Status
}

func showRoutes(r *request) (view, error) {
	var p routesPage
	var err error
	if p.Routes, err = admin.RouteList.Do(r.Context(), r.service, struct{}{}); err != nil {
		return view{}, err
	}
	if p.Fetch, err = optional(admin.FetchList.Do(r.Context(), r.service, struct{}{})); err != nil {
		return view{}, err
	}
	if p.To = r.FormValue("to"); p.To == "" || r.problem != nil {
		return view{"routes", "Ways in and out", p}, nil
	}
	var report admin.RouteReport
	r.elsewhere(func() {
		q := admin.RouteQuestion{To: p.To, From: r.FormValue("from")}
		report, err = admin.RouteTest.Do(r.Context(), r.service, q)
	})
	if err != nil {
		r.problem = problemOf(err)
	} else {
		p.Report = &report
	}
	return view{"routes", "Ways in and out", p}, nil
}

// fetchMail asks the other servers now. It takes as long as they do.
func fetchMail(r *request) (outcome, error) {
	results, err := admin.FetchNow.Do(r.Context(), r.service, r.field("name"))
	n := 0
	for _, one := range results {
		n += one.Fetched
		if one.Error != "" && err == nil {
			err = admin.Hint(errors.New(one.Name+": "+one.Error), "%s", one.Hint)
		}
	}
	return outcome{next: "/routes", notice: notice{Text: r.words.T("%d messages fetched.", n)}}, err
}

// certificatesPage is what the page "certificates" shows.
type certificatesPage struct {
	admin.Certificates
	ACME      acme.Status
	Clients   []certs.Client // that need old TLS, or were refused for it
	OwnCA     bool
	MayChange bool
}

func showCertificates(r *request) (view, error) {
	p := certificatesPage{MayChange: r.operator.MayAll(true)}
	var err error
	if p.Certificates, err = admin.TLSShow.Do(r.Context(), r.service, struct{}{}); err != nil {
		return view{}, err
	}
	for _, c := range p.All {
		p.OwnCA = p.OwnCA || c.CA != nil
	}
	if p.ACME, err = optional(admin.ACMEStatus.Do(r.Context(), r.service, struct{}{})); err != nil {
		return view{}, err
	}
	p.Clients, err = optional(admin.TLSClients.Do(r.Context(), r.service, admin.TLSClientsQuestion{Legacy: true}))
	return view{"certificates", "Certificates", p}, err
}

func certificateActs() map[string]act {
	done := func(r *request, until time.Time, err error) (outcome, error) {
		text := r.words.T("The new certificate is good until %s.", r.words.Time(until))
		return outcome{next: "/certificates", notice: notice{Text: text}}, err
	}
	return map[string]act{
		"renew": func(r *request) (outcome, error) {
			c, err := admin.TLSRenew.Do(r.Context(), r.service, struct{}{})
			return done(r, c.NotAfter, err)
		},
		"acme": func(r *request) (outcome, error) {
			c, err := admin.ACMERenew.Do(r.Context(), r.service, struct{}{})
			return done(r, c.NotAfter, err)
		},
	}
}

// operatorList is what the page "operators" shows.
type operatorList struct {
	Rows      []admin.OperatorDetails
	MayChange bool
}

func showOperators(r *request) (view, error) {
	grants, err := admin.OperatorList.Do(r.Context(), r.service, struct{}{})
	if err != nil {
		return view{}, err
	}
	l := operatorList{MayChange: r.operator.MayAll(true)}
	for _, g := range grants {
		d, err := admin.OperatorShow.Do(r.Context(), r.service, g.Name)
		if err != nil {
			return view{}, err
		}
		l.Rows = append(l.Rows, d)
	}
	return view{"operators", "Operators", l}, nil
}

func operatorActs() map[string]act {
	return map[string]act{
		"add": dangerous(func(r *request) (outcome, error) {
			c, err := admin.OperatorAdd.Do(r.Context(), r.service, admin.NewOperator{
				Name: r.field("name"), Domains: addresses(r.PostFormValue("domains")),
				ReadOnly: r.PostFormValue("read_only") != "",
			})
			return then("/operators", c, err)
		}),
		"remove": dangerous(func(r *request) (outcome, error) {
			c, err := admin.OperatorRemove.Do(r.Context(), r.service, r.field("name"))
			return then("/operators", c, err)
		}),
	}
}

// banList is what the page "bans" shows.
type banList struct {
	Rows      []auth.Record
	MayChange bool
}

func showBans(r *request) (view, error) {
	rows, err := optional(admin.BansList.Do(r.Context(), r.service, struct{}{}))
	return view{"bans", "Banned addresses", banList{rows, r.operator.MayAll(true)}}, err
}

func liftBan(r *request) (outcome, error) {
	c, err := admin.BansLift.Do(r.Context(), r.service, r.field("address"))
	return then("/bans", c, err)
}

// strayPage is what the page "stray" shows: messages that go nowhere by themselves.
type strayPage struct {
	Quarantine []admin.Spooled
	Badmail    []admin.BadMessage
	MayChange  bool
}

func showStray(r *request) (view, error) {
	p := strayPage{MayChange: r.operator.MayAll(true)}
	var err error
	if p.Quarantine, err = admin.QuarantineList.Do(r.Context(), r.service, struct{}{}); err != nil {
		return view{}, err
	}
	p.Badmail, err = admin.BadmailList.Do(r.Context(), r.service, "")
	return view{"stray", "Quarantine and badmail", p}, err
}

// strayActs do a verb to the messages whose boxes are checked.
func strayActs() map[string]act {
	done := func(r *request, n int, err error) (outcome, error) {
		return outcome{next: "/stray", notice: notice{Text: r.words.T("Done to %d messages.", n)}}, err
	}
	return map[string]act{
		"quarantine-retry": func(r *request) (outcome, error) {
			d, err := admin.QuarantineRetry.Do(r.Context(), r.service, admin.QuarantineOrder{Words: r.PostForm["id"]})
			return done(r, len(d.Retried), err)
		},
		"quarantine-remove": func(r *request) (outcome, error) {
			d, err := admin.QuarantineRemove.Do(r.Context(), r.service, admin.QuarantineToRemove{Words: r.PostForm["id"], Sure: r.sure(), Confirmed: r.confirmed()})
			return done(r, len(d.Removed), err)
		},
		"badmail-send": func(r *request) (outcome, error) {
			d, err := admin.BadmailSend.Do(r.Context(), r.service, admin.BadmailToSend{
				Words: r.PostForm["id"], To: addresses(r.PostFormValue("to")), Sure: r.sure(), Confirmed: r.confirmed(),
			})
			return done(r, len(d), err)
		},
		"badmail-remove": func(r *request) (outcome, error) {
			d, err := admin.BadmailRemove.Do(r.Context(), r.service, admin.BadmailToRemove{Words: r.PostForm["id"], Sure: r.sure(), Confirmed: r.confirmed()})
			return done(r, len(d.Removed), err)
		},
	}
}

// confirmed are the messages that a question was about.
func (r *request) confirmed() []string {
	if !r.sure() {
		return nil
	}
	return r.PostForm["id"]
}

// logPage is what the page "log" shows.
type logPage struct {
	Match     string
	Lines     []string // the newest first
	Levels    []logging.PartLevel
	Choices   map[string][]logging.Word // by part
	MayChange bool
}

const logLines = 200

func showLog(r *request) (view, error) {
	p := logPage{Match: r.FormValue("match"), MayChange: r.operator.MayAll(true), Choices: make(map[string][]logging.Word)}
	var err error
	p.Lines, err = optional(admin.LogShow.Do(r.Context(), r.service, admin.LogQuestion{Lines: logLines, Match: p.Match}))
	if err != nil {
		return view{}, err
	}
	p.Levels, err = optional(admin.LogLevels.Do(r.Context(), r.service, struct{}{}))
	for _, l := range p.Levels {
		if part, ok := logging.ParsePart(l.Part); ok {
			p.Choices[l.Part] = logging.WordsOf(part)
		}
	}
	return view{"log", "Log", p}, err
}

func setLogLevel(r *request) (outcome, error) {
	c, err := admin.LogLevelSet.Do(r.Context(), r.service, admin.LogLevelToSet{Part: r.field("part"), Level: logging.Word(r.field("level"))})
	return then("/log", c, err)
}

// serverRoutes are about the rules and the server itself.
func (s *Site) serverRoutes(mux *http.ServeMux) {
	s.page(mux, "/policy", operators, showPolicy)
	s.page(mux, "/policy/rule", operators, showRule)
	s.act(mux, "/policy/set", operators, showRule, setRule)
	s.acts(mux, "/policy/", operators, showPolicy, policyActs())
	s.page(mux, "/settings", operators, showSettings)
	s.page(mux, "/refusals", operators, showRefusals)
	s.page(mux, "/bans", operators, showBans)
	s.act(mux, "/bans/lift", operators, showBans, liftBan)
	s.page(mux, "/routes", operators, showRoutes)
	s.act(mux, "/routes/fetch", operators, showRoutes, fetchMail)
	s.page(mux, "/certificates", operators, showCertificates)
	s.acts(mux, "/certificates/", operators, showCertificates, certificateActs())
	s.page(mux, "/operators", operators, showOperators)
	s.acts(mux, "/operators/", operators, showOperators, operatorActs())
	s.page(mux, "/stray", operators, showStray)
	s.acts(mux, "/stray/", operators, showStray, strayActs())
	s.page(mux, "/backups", operators, showBackups)
	s.acts(mux, "/backups/", operators, showBackups, backupActs())
	s.page(mux, "/log", operators, showLog)
	s.act(mux, "/log/level", operators, showLog, setLogLevel)
}

// acts are the acts of one page p.
func (s *Site) acts(mux *http.ServeMux, path string, may who, p show, all map[string]act) {
	for name, do := range all {
		s.act(mux, path+name, may, p, do)
	}
}
