package web

import (
	"encoding/xml"
	"io"
	"mime"
	"net/http"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/clientsetup"
	"pillarbox/mailstore/addr"
)

// This file answers mail programs that look for their settings: Thunderbird, Evolution and KMail by
// autoconfig, Outlook by Autodiscover. The answers are the same for every address of a domain, so
// that nobody learns which mailboxes there are.

// discoverRoutes are open to everybody.
func (s *Site) discoverRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /mail/config-v1.1.xml", s.autoconfig)
	mux.HandleFunc("GET /.well-known/autoconfig/mail/config-v1.1.xml", s.autoconfig)
	mux.HandleFunc("GET /ca.crt", s.authority)
}

// discovers answers the paths of Autodiscover, which programs write in any case. It reports false
// for another path.
func (s *Site) discovers(w http.ResponseWriter, r *http.Request) bool {
	switch strings.ToLower(r.URL.Path) {
	case "/autodiscover/autodiscover.xml":
		s.autodiscover(w, r)
	case "/autodiscover/autodiscover.json":
		s.autodiscoverJSON(w, r)
	default:
		return false
	}
	return true
}

// facts are the settings for an address in a domain that is hosted here; false for another one.
func (s *Site) facts(address string) (f clientsetup.Facts, ok bool) {
	a, err := addr.Parse(address)
	if err != nil {
		return f, false
	}
	if hosted, err := s.Service.Dir.Hosts(a.Domain); err != nil || !hosted {
		return f, false
	}
	return clientsetup.Facts{Settings: clientsetup.For(s.Service.Config(), a, nil)}, true
}

func (s *Site) autoconfig(w http.ResponseWriter, r *http.Request) {
	address := r.FormValue("emailaddress")
	if address == "" {
		address = "user@" + strings.TrimPrefix(hostName(r.Host), "autoconfig.")
	}
	f, ok := s.facts(address)
	if !ok {
		http.NotFound(w, r)
		return
	}
	file, err := clientsetup.Render("thunderbird", false, f)
	answer(w, r, file, err)
}

// maxQuestion is the number of octets of a question of Outlook that are read.
const maxQuestion = 16 << 10

func (s *Site) autodiscover(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Request struct{ EMailAddress string }
	}
	err := xml.NewDecoder(io.LimitReader(r.Body, maxQuestion)).Decode(&question)
	f, ok := s.facts(strings.TrimSpace(question.Request.EMailAddress))
	if err != nil || !ok {
		http.NotFound(w, r)
		return
	}
	file, err := f.Autodiscover()
	answer(w, r, file, err)
}

func (s *Site) autodiscoverJSON(w http.ResponseWriter, r *http.Request) {
	var protocol string
	for name, values := range r.URL.Query() {
		if strings.EqualFold(name, "Protocol") {
			protocol = values[0]
		}
	}
	body, ok := clientsetup.AutodiscoverJSON(string(s.Service.Config().Hostname), protocol)
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
	}
	w.Write(body)
}

// answer sends a file that a program reads at once.
func answer(w http.ResponseWriter, r *http.Request, f clientsetup.File, err error) {
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.Type)
	w.Write(f.Body)
}

// authority sends the certificate of the server's own CA, which is no secret.
func (s *Site) authority(w http.ResponseWriter, r *http.Request) {
	ca, err := admin.TLSExportCA.Do(r.Context(), s.Service, "der")
	if err != nil {
		http.NotFound(w, r)
		return
	}
	download(w, clientsetup.File{Name: "office-ca.crt", Type: "application/x-x509-ca-cert", Body: ca})
}

// download sends a file to be kept.
func download(w http.ResponseWriter, f clientsetup.File) {
	w.Header().Set("Content-Type", f.Type)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.Name}))
	w.Write(f.Body)
}

// setupFile sends the user of a session the file for a mail program.
func (s *Site) setupFile(w http.ResponseWriter, hr *http.Request) {
	r := s.admit(w, hr, anyone)
	if r == nil {
		return
	}
	file, err := admin.ClientSetup.Do(hr.Context(), r.own, admin.ClientSetupRequest{
		User: r.session.user.String(), For: hr.PathValue("program"),
	})
	if err != nil {
		s.fail(w, r, http.StatusNotFound, err)
		return
	}
	download(w, file)
}
