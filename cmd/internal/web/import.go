package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"pillarbox/cmd/internal/admin"
)

// importTime is the time for making mailboxes. It is less than that for an answer (Limits), so that
// the passwords arrive. What is left is made when the list is sent again.
const importTime = 40 * time.Second

// importPage is what the page "import" shows: the form, a preview, or the result.
type importPage struct {
	List    string // that was sent
	Result  *admin.AddedMailboxes
	Preview bool
}

// showImport shows the empty form.
func showImport(*request) (view, error) { return importView(importPage{}), nil }

func importView(p importPage) view { return view{"import", "Import mailboxes", p} }

// importMailboxes shows a preview of a list, or makes its mailboxes. The passwords are on this page
// only, so it is the answer itself; sent again, the list makes nothing twice.
func importMailboxes(r *request) (view, error) {
	p := importPage{Preview: r.PostFormValue("do") != "apply"}
	var err error
	if p.List, err = r.list(); err != nil {
		return importView(p), err
	}
	ctx, cancel := context.WithTimeout(r.Context(), importTime)
	defer cancel()
	out, err := admin.MailboxAddMany.Do(ctx, r.service, admin.MailboxesToAdd{List: p.List, Try: p.Preview})
	if len(out.Mailboxes) > 0 || len(out.Mistakes) > 0 {
		p.Result = &out
	}
	return importView(p), err
}

// list returns the list of a form: the file, or what was typed.
func (r *request) list() (string, error) {
	f, _, err := r.FormFile("file")
	if errors.Is(err, http.ErrMissingFile) || errors.Is(err, http.ErrNotMultipart) {
		return admin.DecodeList([]byte(r.PostFormValue("list")))
	} else if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err == nil && len(text) == 0 { // the browser sends an empty file if none was chosen
		text = []byte(r.PostFormValue("list"))
	}
	if err != nil {
		return "", err
	}
	return admin.DecodeList(text)
}
