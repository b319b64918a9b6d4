package web

import (
	"net/http"
)

// routes is the list of pages and acts. "/" leads to the first page of the user.
func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", file("style.css"))
	mux.HandleFunc("GET /icon.svg", file("icon.svg"))
	mux.HandleFunc("GET /copy.js", file("copy.js"))
	mux.HandleFunc("GET /login", s.showLogin)
	mux.HandleFunc("POST /login", s.logIn)
	mux.HandleFunc("GET /login/code", s.showCode)
	mux.HandleFunc("POST /login/code", s.logInWithCode)
	mux.HandleFunc("GET /reset/{name}/{key}", s.showReset)
	mux.HandleFunc("POST /reset/{name}/{key}", s.resetPassword)
	mux.HandleFunc("POST /logout", s.logOut)
	mux.HandleFunc("POST /language", s.speak)
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("/", s.nothing)

	s.discoverRoutes(mux)
	s.ownRoutes(mux)
	s.factorRoutes(mux)
	s.officeRoutes(mux)
	s.mailRoutes(mux)
	s.serverRoutes(mux)
	return mux
}

// ownRoutes are for every user.
func (s *Site) ownRoutes(mux *http.ServeMux) {
	s.page(mux, "/me", anyone, showOwn)
	s.page(mux, "/me/setup", anyone, showSetup)
	s.page(mux, "/me/setup/print", anyone, showSetupPrint)
	mux.HandleFunc("GET /me/setup/{program}", s.setupFile)
	s.act(mux, "/me/password", anyone, showOwn, setOwnPassword)
	s.act(mux, "/me/app-password", anyone, showOwn, dangerous(addOwnAppPassword))
	s.act(mux, "/me/app-password-remove", anyone, showOwn, removeOwnAppPassword)
	s.act(mux, "/me/forward", anyone, showOwn, setOwnForward)
	s.act(mux, "/me/logout-others", anyone, showOwn, endOtherSessions)
	s.deliveryRoutes(mux, "/me", anyone)
}

// deliveryRoutes are what a mailbox does with its mail. path is that of the mailbox's page.
func (s *Site) deliveryRoutes(mux *http.ServeMux, path string, may who) {
	s.page(mux, path+"/rules", may, showRules)
	s.acts(mux, path+"/rules/", may, showRules, rulesActs())
	s.page(mux, path+"/absence", may, showAbsence)
	s.acts(mux, path+"/absence/", may, showAbsence, absenceActs())
	s.page(mux, path+"/deleted", may, showDeleted)
	s.acts(mux, path+"/deleted/", may, showDeleted, deletedActs())
}

// officeRoutes are about who is in the office.
func (s *Site) officeRoutes(mux *http.ServeMux) {
	s.page(mux, "/mailboxes", operators, showMailboxes)
	s.page(mux, "/mailboxes/add", operators, showAddMailbox)
	s.act(mux, "/mailboxes/add", operators, showAddMailbox, addMailbox)
	s.page(mux, "/mailboxes/import", operators, showImport)
	s.form(mux, "/mailboxes/import", operators, importMailboxes)
	s.page(mux, "/mailbox/{name}", operators, showMailbox)
	s.acts(mux, "/mailbox/{name}/", operators, showMailbox, mailboxActs())
	s.deliveryRoutes(mux, "/mailbox/{name}", operators)
	s.page(mux, "/domains", operators, showDomains)
	s.acts(mux, "/domains/", operators, showDomains, domainActs())
	s.page(mux, "/dns", operators, showDNS)
	s.acts(mux, "/dns/", operators, showDNS, dkimActs())
	s.page(mux, "/groups", operators, showGroups)
	s.acts(mux, "/groups/", operators, showGroups, groupActs())
	s.page(mux, "/devices", operators, showDevices)
	s.acts(mux, "/devices/", operators, showDevices, deviceActs())
}

// mailRoutes are about mail and the server.
func (s *Site) mailRoutes(mux *http.ServeMux) {
	s.page(mux, "/overview", operators, showOverview)
	s.page(mux, "/queue", operators, showQueue)
	s.act(mux, "/queue", operators, showQueue, orderQueue)
	s.page(mux, "/trace", operators, showTrace)
	s.page(mux, "/explain", operators, showExplain)
	s.page(mux, "/sessions", operators, showSessions)
	s.act(mux, "/sessions/kill", operators, showSessions, killSession)
	s.page(mux, "/audit", operators, showAudit)
}

// home leads to the first page of the user.
func (s *Site) home(w http.ResponseWriter, hr *http.Request) {
	r := s.admit(w, hr, anyone)
	if r == nil {
		return
	}
	to := "/me"
	if r.operator.MayAll(false) {
		to = "/overview"
	} else if operators(r.operator) {
		to = "/mailboxes"
	}
	http.Redirect(w, hr, to, http.StatusSeeOther)
}

func (s *Site) nothing(w http.ResponseWriter, hr *http.Request) {
	if s.discovers(w, hr) {
		return
	}
	if r := s.admit(w, hr, anyone); r != nil {
		s.fail(w, r, http.StatusNotFound, errNoPage)
	}
}
