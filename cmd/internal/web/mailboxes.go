package web

import (
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/auth"
)

// perPage is the number of rows of a long list.
const perPage = 50

// mailboxList is what the page "mailboxes" shows.
type mailboxList struct {
	Domains []admin.DomainSummary
	Domain  string
	Find    string
	Locked  bool
	Rows    []admin.MailboxSummary
	pages
}

// pages says which rows of a list are shown.
type pages struct {
	First, Last, All int // numbers of rows, from 1 on
	Previous, Next   string
}

// cut returns the rows of the page that a request asks for.
func cut[T any](r *request, rows []T) ([]T, pages) { return cutBy(r, "page", rows) }

// cutBy is cut for one of several lists on a page, whose part is in a field of its own.
func cutBy[T any](r *request, field string, rows []T) ([]T, pages) {
	from := r.from(field, len(rows))
	p := r.pages(field, from, len(rows))
	return rows[from:p.Last], p
}

// from returns the number of the first row, from 0 on, of the page that a request asks for.
func (r *request) from(field string, all int) int {
	page, err := strconv.Atoi(r.FormValue(field))
	if last := max(0, (all-1)/perPage); err != nil || page < 0 || page > last {
		return 0
	}
	return page * perPage
}

// pages are the links to the rows before and after those that begin with the row from.
func (r *request) pages(field string, from, all int) pages {
	p := pages{First: from + 1, Last: min(from+perPage, all), All: all}
	link := func(row int) string {
		q := r.URL.Query()
		q.Set(field, strconv.Itoa(row/perPage))
		return r.URL.Path + "?" + q.Encode()
	}
	if from > 0 {
		p.Previous = link(from - perPage)
	}
	if p.Last < all {
		p.Next = link(p.Last)
	}
	return p
}

func showMailboxes(r *request) (view, error) {
	l := mailboxList{Domain: r.FormValue("domain"), Find: strings.TrimSpace(r.FormValue("find")), Locked: r.FormValue("locked") != ""}
	var err error
	if l.Domains, err = admin.DomainList.Do(r.Context(), r.service, struct{}{}); err != nil {
		return view{}, err
	}
	q := admin.MailboxSearch{Domain: l.Domain, Find: l.Find, Locked: l.Locked, Limit: perPage}
	q.From = r.from("page", math.MaxInt)
	found, err := admin.MailboxFind.Do(r.Context(), r.service, q)
	if err == nil && q.From >= found.Count {
		q.From = 0
		found, err = admin.MailboxFind.Do(r.Context(), r.service, q)
	}
	l.Rows, l.pages = found.Mailboxes, r.pages("page", q.From, found.Count)
	return view{"mailboxes", "Mailboxes", l}, err
}

// addForm is what the page "mailbox_add" shows.
type addForm struct {
	Domains []admin.DomainSummary
	Rules   string
}

func showAddMailbox(r *request) (view, error) {
	domains, err := admin.DomainList.Do(r.Context(), r.service, struct{}{})
	return view{"mailbox_add", "Add a mailbox", addForm{domains, r.service.Keeper.Rules().Text()}}, err
}

// password returns the password that a form sets: typed twice, or a new one, which is returned as
// secret too so that the page can show it once.
func (r *request) password() (password, secret string, err error) {
	if r.PostFormValue("password_way") != "typed" {
		p := auth.GeneratePassword()
		return p, p, nil
	}
	password = r.PostFormValue("password")
	if password == "" {
		return "", "", errors.New(r.words.T("Type a password, or let the server make one."))
	}
	if password != r.PostFormValue("password_again") {
		return "", "", errors.New(r.words.T("The two passwords differ."))
	}
	return password, "", nil
}

func addMailbox(r *request) (outcome, error) {
	password, secret, err := r.password()
	if err != nil {
		return outcome{}, err
	}
	user := r.field("name")
	if domain := r.PostFormValue("domain"); domain != "" && !strings.Contains(user, "@") {
		user += "@" + domain
	}
	done, err := admin.MailboxAdd.Do(r.Context(), r.service, admin.MailboxToAdd{
		User: user, NewMailbox: admin.NewMailbox{Password: password, Quota: r.field("quota")},
	})
	if err != nil {
		return outcome{}, err
	}
	return outcome{next: mailboxPath(user), notice: notice{Text: done.Text, Warnings: done.Warnings, Secret: secret}}, nil
}

// mailboxPath is the page of a mailbox.
func mailboxPath(address string) string { return "/mailbox/" + url.PathEscape(address) }

// mailboxPage is what the page "mailbox" shows.
type mailboxPage struct {
	admin.MailboxDetails
	Quotas    admin.QuotaStatus
	Logins    []admin.LoginEvent
	Rules     string
	MayChange bool
}

func showMailbox(r *request) (view, error) {
	name := r.PathValue("name")
	p := mailboxPage{Rules: r.service.Keeper.Rules().Text()}
	var err error
	if p.MailboxDetails, err = admin.MailboxShow.Do(r.Context(), r.service, name); err != nil {
		return view{}, err
	}
	if p.Quotas, err = admin.QuotaShow.Do(r.Context(), r.service, name); err != nil {
		return view{}, err
	}
	if p.Logins, err = recentLogins(r, r.service, name); err != nil {
		return view{}, err
	}
	p.MayChange = r.operator.May(p.Mailbox.Domain, true)
	return view{"mailbox", p.Mailbox.String(), p}, nil
}

// mailboxActs are the acts on one mailbox, by the last part of their paths.
func mailboxActs() map[string]act {
	return map[string]act{
		"password": dangerous(setPassword),
		"lock":     onMailbox(admin.MailboxLock),
		"unlock":   onMailbox(admin.MailboxUnlock),
		"release":  onMailbox(admin.MailboxRelease),
		"name":     setOnMailbox(admin.MailboxName, "full_name"),
		"access":   setOnMailbox(admin.MailboxAccess, "access"),
		"quota":    setOnMailbox(admin.MailboxQuota, "quota"),
		"archive":  setOnMailbox(admin.MailboxArchive, "archive"),
		"forward":  forward,
		"rename":   renameMailbox,
		"remove":   dangerous(removeMailbox),
		"alias":    addAliasHere,

		"reset-link":           dangerous(makeResetLink),
		"app-password":         dangerous(addAppPasswordHere),
		"app-password-remove":  setOnMailbox(admin.AppPasswordRemove, "app"),
		"second-factor-remove": dangerous(setOnMailbox(admin.SecondFactorRemove, "factor")),
	}
}

// done is the outcome of a verb on a mailbox, whose page comes next.
func (r *request) done(c admin.Change, err error) (outcome, error) {
	return then(mailboxPath(r.PathValue("name")), c, err)
}

func onMailbox(v admin.Verb[string, admin.Change]) act {
	return func(r *request) (outcome, error) {
		return r.done(v.Do(r.Context(), r.service, r.PathValue("name")))
	}
}

// setOnMailbox makes an act of a verb that sets something to the value of a field.
func setOnMailbox(v admin.Verb[admin.Setting, admin.Change], field string) act {
	return func(r *request) (outcome, error) {
		in := admin.Setting{Name: r.PathValue("name"), Value: r.field(field)}
		return r.done(v.Do(r.Context(), r.service, in))
	}
}

func setPassword(r *request) (outcome, error) {
	password, secret, err := r.password()
	if err != nil {
		return outcome{}, err
	}
	done, err := r.done(admin.MailboxPasswd.Do(r.Context(), r.service,
		admin.PasswordToSet{User: r.PathValue("name"), Password: password}))
	done.Secret = secret
	return done, err
}

// addresses returns the addresses that a field has, one in a line or with commas between them.
func addresses(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" ,;\r\n\t", c) })
}

func forward(r *request) (outcome, error) {
	return r.done(admin.MailboxForward.Do(r.Context(), r.service, admin.Forwarding{
		User: r.PathValue("name"), Targets: addresses(r.PostFormValue("targets")),
		KeepCopy: r.PostFormValue("keep_copy") != "",
	}))
}

func renameMailbox(r *request) (outcome, error) {
	next := r.field("new_name")
	done, err := r.done(admin.MailboxRename.Do(r.Context(), r.service,
		admin.Setting{Name: r.PathValue("name"), Value: next}))
	if !strings.Contains(next, "@") {
		_, domain, _ := strings.Cut(r.PathValue("name"), "@")
		next += "@" + domain
	}
	done.next = mailboxPath(next)
	return done, err
}

// removeMailbox wants the name typed, because the mail is lost.
func removeMailbox(r *request) (outcome, error) {
	name := r.PathValue("name")
	sure := r.sure() && strings.EqualFold(r.field("typed"), name)
	c, err := admin.MailboxRemove.Do(r.Context(), r.service, admin.MailboxToRemove{User: name, Sure: sure})
	if errors.Is(err, admin.ErrConfirm) {
		err = &typedError{err, name}
	}
	return then("/mailboxes", c, err)
}

func addAliasHere(r *request) (outcome, error) {
	alias := r.field("alias")
	if _, domain, _ := strings.Cut(r.PathValue("name"), "@"); !strings.Contains(alias, "@") {
		alias += "@" + domain
	}
	return r.done(admin.AliasAdd.Do(r.Context(), r.service,
		admin.Setting{Name: alias, Value: r.PathValue("name")}))
}

// makeResetLink makes a link, which the next page shows once.
func makeResetLink(r *request) (outcome, error) {
	made, err := admin.MailboxResetLink.Do(r.Context(), r.service, r.PathValue("name"))
	done, err := r.done(made.Change, err)
	done.Link = made.Link
	return done, err
}

func addAppPasswordHere(r *request) (outcome, error) {
	name := r.PathValue("name")
	return addAppPassword(r, r.service, name, mailboxPath(name))
}

// Bar returns how full a mailbox is, in percent from 0 to 100, for its bar; -1 without a limit.
func (l mailboxList) Bar(m admin.MailboxSummary) int { return bar(m.Bytes, m.Quota) }

// Bar is that of the mailbox.
func (p mailboxPage) Bar() int { return bar(p.Bytes, p.Quotas.Limits.Bytes) }

func bar(used, limit int64) int {
	if limit <= 0 {
		return -1
	}
	return int(min(100, used*100/limit))
}
