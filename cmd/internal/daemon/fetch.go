package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/durable"
	"pillarbox/pop3/collect"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/dns"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
)

const (
	fetchLook    = time.Minute     // how often it is looked whether the configuration, or the clock, has been changed
	fetchBackOff = 5 * time.Minute // after a failure of an entry that is only asked with each delivery
	fetchRest    = 4 * time.Hour   // between tries of an entry that keeps failing, at most
	fetchWait    = 50 * time.Second
)

// FetchResult is what came of asking one [[fetch]].
type FetchResult struct {
	Name    string    `json:"name"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: it is still under way
	ETRN    []string  `json:"etrn,omitempty"` // what the server said, one for each domain
	collect.Result
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// FetchStatus is one [[fetch]] and how it goes.
type FetchStatus struct {
	Name      string       `json:"name"`
	ETRN      string       `json:"etrn_server,omitempty"`
	POP3      string       `json:"pop3,omitempty"`
	DeliverTo addr.Address `json:"deliver_to,omitzero"`
	Running   bool         `json:"running"`
	Next      time.Time    `json:"next,omitzero"` // zero: with the next delivery only
	Failures  int          `json:"failures"`      // in a row
	Last      *FetchResult `json:"last,omitempty"`
}

// fetcher asks other servers for our mail, by the entries of the configuration. One that fails, or hangs, is in no other
// one's way.
type fetcher struct {
	config  func() *config.Config
	inject  func(env *smtp.Envelope, source queue.Source, from string, message io.Reader) (id string, err error)
	ask     func(ctx context.Context, host route.Host, rt *route.Route, node string) (smtp.Reply, error)
	resolve func(to addr.Address) (exists bool, err error)
	collect func(ctx context.Context, o collect.Options) (collect.Result, error)
	files   durable.FS
	keep    func(id string, m badmail.Message) error // aside, for an administrator
	sent    <-chan struct{}                          // something went to another server
	log     *slog.Logger

	wake    chan struct{}
	mu      sync.Mutex
	entries map[string]*fetchEntry // by name; owner: mu
}

// fetchEntry is what is remembered of an entry.
type fetchEntry struct {
	since    time.Time // when it was first seen
	last     *FetchResult
	failures int
	demanded bool
	running  chan struct{} // closed when what is under way has ended; nil: nothing is
}

// newFetcher makes what asks for mail; the parts that send must be there.
func (d *Daemon) newFetcher() *fetcher {
	return &fetcher{
		config: d.office.Config,
		inject: d.desk.Inject,
		ask: func(ctx context.Context, host route.Host, rt *route.Route, node string) (smtp.Reply, error) {
			return d.sender.remote.Load().AskETRN(ctx, host, rt, node)
		},
		resolve: func(to addr.Address) (bool, error) {
			res, err := d.office.Dir.Resolve(to)
			return len(res.Mailboxes)+len(res.Forward) > 0, err
		},
		collect: func(ctx context.Context, o collect.Options) (collect.Result, error) {
			o.Dial = d.notOurselves((&net.Dialer{Resolver: dns.NewClient(admin.DNSOptions(d.office.Config()).Servers)}).DialContext)
			return collect.Collect(ctx, o)
		},
		files:   d.office.Root,
		keep:    d.badmail.Put,
		sent:    d.sender.sent,
		log:     d.log,
		wake:    make(chan struct{}, 1),
		entries: map[string]*fetchEntry{},
	}
}

// nextFetch is when an entry is due by its times. last is when it was asked last, or zero; where it has times of the day,
// last is at first when it was seen first. zero: never, by its times.
func nextFetch(f *config.Fetch, last, now time.Time) time.Time {
	switch {
	case last.After(now): // the clock was set back
		return nextFetch(f, now, now)
	case len(f.At) > 0:
		if last.IsZero() {
			last = now
		}
		return nextTimeOfDay(f.At, last)
	case f.Every == 0:
		return time.Time{}
	case last.IsZero():
		return now
	}
	return last.Add(f.Every)
}

// nextTimeOfDay is the first of the times of day after a moment. One that a day leaves out, for summer time begins, comes an
// hour later; one that it has twice comes once.
func nextTimeOfDay(at []time.Duration, after time.Time) (next time.Time) {
	year, month, day := after.Date()
	for add := range 3 {
		for _, of := range at {
			t := time.Date(year, month, day+add, int(of/time.Hour), int(of%time.Hour/time.Minute), int(of%time.Minute/time.Second), 0, after.Location())
			if t.After(after) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// backOff is how long an entry rests after so many failures in a row.
func backOff(f *config.Fetch, failures int) time.Duration {
	if failures == 0 || len(f.At) > 0 {
		return 0
	}
	wait := cmp.Or(f.Every, fetchBackOff)
	for range min(failures-1, 16) {
		wait = min(2*wait, max(fetchRest, f.Every))
	}
	return wait
}

// due is when an entry is to be asked; zero: not by its times.
func (e *fetchEntry) due(f *config.Fetch, now time.Time) time.Time {
	var last time.Time
	switch {
	case e.last != nil:
		last = e.last.Started
	case len(f.At) > 0:
		last = e.since
	}
	next := nextFetch(f, last, now)
	if rests := e.rests(f); next.Before(rests) && !next.IsZero() && !last.After(now) {
		next = rests
	}
	return next
}

// rests is until when an entry that fails is left alone.
func (e *fetchEntry) rests(f *config.Fetch) time.Time {
	if e.last == nil {
		return time.Time{}
	}
	return e.last.Ended.Add(backOff(f, e.failures))
}

// run asks whenever it is time, until ctx ends.
func (f *fetcher) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for sent := false; ctx.Err() == nil; {
		wait := time.NewTimer(f.startDue(ctx, &running, sent))
		sent = false
		select {
		case <-wait.C:
		case <-f.wake:
		case <-f.sent:
			sent = true
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// startDue starts what is due, and returns how long nothing is.
func (f *fetcher) startDue(ctx context.Context, running *sync.WaitGroup, sent bool) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, rest := time.Now(), fetchLook
	names := map[string]bool{}
	for _, entry := range f.config().Fetch {
		names[entry.Name] = true
		e := f.entry(entry.Name, now)
		if e.running != nil {
			continue
		}
		due := e.due(&entry, now)
		byTime := !due.IsZero() && !now.Before(due)
		if e.demanded || byTime || sent && entry.WithEachDelivery && !now.Before(e.rests(&entry)) {
			e.demanded, e.running = false, make(chan struct{})
			running.Go(func() { f.once(ctx, entry, e) })
		} else if !due.IsZero() {
			rest = min(rest, due.Sub(now))
		}
	}
	for name, e := range f.entries {
		if !names[name] && e.running == nil {
			delete(f.entries, name)
		}
	}
	return rest
}

// entry is what is remembered of an entry. The caller holds mu.
func (f *fetcher) entry(name string, now time.Time) *fetchEntry {
	if f.entries[name] == nil {
		f.entries[name] = &fetchEntry{since: now}
	}
	return f.entries[name]
}

// once asks one entry.
func (f *fetcher) once(ctx context.Context, entry config.Fetch, e *fetchEntry) {
	result := FetchResult{Name: entry.Name, Started: time.Now()}
	err := caught.Do(func() error { return f.askAll(ctx, &entry, &result) })
	caught.Log(f.log, err, "fetch: the program goes wrong with what a server says", "fetch", entry.Name)
	result.Ended = time.Now()
	if err != nil {
		result.Error, result.Hint = err.Error(), hintOf(err)
	}
	f.mu.Lock()
	if e.failures++; err == nil {
		e.failures = 0
	}
	e.last = &result
	failures := e.failures
	close(e.running)
	e.running = nil
	f.mu.Unlock()
	f.tell(ctx, &result, failures)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// hintOf finds the hint in an error, wherever it is from.
func hintOf(err error) string {
	if e, ok := errors.AsType[*collect.Error](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*admin.HintError](err); ok {
		return e.Hint
	}
	return ""
}

func (f *fetcher) tell(ctx context.Context, r *FetchResult, failures int) {
	fields := []any{"fetch", r.Name}
	if len(r.ETRN) > 0 {
		fields = append(fields, "etrn", strings.Join(r.ETRN, "; "))
	}
	fields = append(fields, "fetched", r.Fetched, "bytes", r.Bytes, "deleted", r.Deleted, "left", r.Left)
	switch {
	case ctx.Err() != nil:
	case r.Error != "":
		fields = append(fields, "error", r.Error, "failures", failures)
		if r.Hint != "" {
			fields = append(fields, "hint", r.Hint)
		}
		f.log.Error("fetch: failed", fields...)
	case r.Fetched+r.Deleted > 0 || len(r.ETRN) > 0:
		f.log.Info("fetch: done", fields...)
	default:
		f.log.Debug("fetch: nothing new", fields...)
	}
}

// askAll asks by ETRN, then by POP3; that the one fails does not hinder the other.
func (f *fetcher) askAll(ctx context.Context, entry *config.Fetch, result *FetchResult) error {
	var err error
	if entry.ETRNServer != (route.Host{}) {
		err = f.askETRN(ctx, entry, result)
	}
	if entry.POP3 == (route.Host{}) {
		return err
	}
	return errors.Join(err, f.askPOP3(ctx, entry, result))
}

func (f *fetcher) askETRN(ctx context.Context, entry *config.Fetch, result *FetchResult) error {
	way := &route.Route{Name: entry.Name, TLS: entry.TLS, User: entry.User, PasswordFile: entry.PasswordFile}
	if entry.POP3 != (route.Host{}) {
		// The login is the mailbox's, and so is the protection that it wants. The server
		// may know its password all the same, and what it says is masked.
		way = &route.Route{Name: entry.Name, PasswordFile: entry.PasswordFile}
	}
	var errs []error
	for _, node := range entry.ETRNDomains {
		reply, err := f.ask(ctx, entry.ETRNServer, way, node)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("ETRN %s: %w", node, err))
		case reply.Code/100 != 2:
			errs = append(errs, admin.Hint(fmt.Errorf("ETRN %s: the server says: %w", node, &reply), "%s", etrnHint(reply.Code)))
		default:
			result.ETRN = append(result.ETRN, node+": "+reply.Error())
		}
	}
	return errors.Join(errs...)
}

// etrnHint explains the refusals of RFC 1985 §5.
func etrnHint(code int) string {
	switch code {
	case 458:
		return "the server cannot begin to send now; the next time may do"
	case 459, 530, 550, 554:
		return "the provider has to allow this machine to ask for the domain"
	case 500, 502, 503:
		return "the server does not know ETRN, or not from here"
	}
	return "ask the provider for what name the mail waits"
}

// askPOP3 empties the mailbox.
func (f *fetcher) askPOP3(ctx context.Context, entry *config.Fetch, result *FetchResult) error {
	switch exists, err := f.resolve(entry.DeliverTo); {
	case err != nil:
		return err
	case !exists:
		return admin.Hint(fmt.Errorf("%s does not exist: nothing is collected for it", entry.DeliverTo), "'pillarbox admin mailbox add' makes a mailbox; deliver_to names another")
	}
	password, err := remote.ReadPassword(entry.PasswordFile)
	if err != nil {
		return err
	}
	cfg := f.config()
	host := entry.POP3.Name
	if entry.POP3.Addr.IsValid() {
		host = entry.POP3.Addr.String()
	}
	letter := fetched{entry: entry, host: host, hostname: string(cfg.Hostname), inject: f.inject, keep: f.keep, log: f.log}
	result.Result, err = f.collect(ctx, collect.Options{
		Name: entry.Name, Host: host, Port: entry.POP3.Port, ImplicitTLS: entry.POP3.ImplicitTLS, TLS: collectTLS(entry.TLS),
		User: entry.User, Password: password, Leave: entry.Leave, LeaveDays: entry.LeaveDays,
		MaxSize: cfg.SMTP.MaxMessageSize, Files: f.files, Deliver: letter.deliver, Log: f.log,
	})
	return err
}

func collectTLS(mode route.TLSMode) collect.TLSMode {
	return map[route.TLSMode]collect.TLSMode{
		route.TLSOpportunistic: collect.TLSOpportunistic, route.TLSOff: collect.TLSOff,
		route.TLSRequired: collect.TLSRequired, route.TLSVerified: collect.TLSVerified,
	}[mode]
}

// list is what is known of every entry.
func (f *fetcher) list() []FetchStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	all := []FetchStatus{}
	for _, entry := range f.config().Fetch {
		e := f.entry(entry.Name, now)
		all = append(all, FetchStatus{
			Name: entry.Name, ETRN: hostText(entry.ETRNServer), POP3: hostText(entry.POP3), DeliverTo: entry.DeliverTo,
			Running: e.running != nil, Next: e.due(&entry, now), Failures: e.failures, Last: e.last,
		})
	}
	return all
}

func hostText(h route.Host) string {
	if h == (route.Host{}) {
		return ""
	}
	return h.String()
}

// errNoFetch says that there is no such entry.
var errNoFetch = errors.New("there is no such [[fetch]]")

// now asks one entry, or for "" every one, and waits for what comes of it, but not for ever.
func (f *fetcher) now(ctx context.Context, name string) ([]FetchResult, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	names := []string{}
	for _, entry := range f.config().Fetch {
		if name == "" || entry.Name == name {
			names = append(names, entry.Name)
		}
	}
	if len(names) == 0 && name != "" {
		return nil, fmt.Errorf("%w: %q", errNoFetch, name)
	}
	begun := time.Now()
	f.mu.Lock()
	for _, name := range names {
		f.entry(name, begun).demanded = true
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	results := []FetchResult{}
	for _, name := range names {
		results = append(results, f.await(ctx, name, begun))
	}
	return results, nil
}

// await waits for a result that is not older than begun.
func (f *fetcher) await(ctx context.Context, name string, begun time.Time) FetchResult {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for {
		f.mu.Lock()
		e := f.entry(name, begun)
		last := e.last
		f.mu.Unlock()
		if last != nil && !last.Started.Before(begun) {
			return *last
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return FetchResult{Name: name, Started: begun}
		}
	}
}

// serveFetch puts it on the control socket.
func serveFetch(mux *http.ServeMux, f *fetcher) {
	mux.HandleFunc("GET /fetch", func(w http.ResponseWriter, _ *http.Request) { answer(w, f.list()) })
	mux.HandleFunc("POST /fetch/now", func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("name")
		record(r, cmp.Or(name, "all [[fetch]]"), map[string]any{"fetch": "now"})
		results, err := f.now(r.Context(), name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, results)
	})
}

// AskFetchList asks the server of a data directory where it collects mail, and how that goes.
func AskFetchList(ctx context.Context, data string) (all []FetchStatus, err error) {
	err = ask(ctx, data, http.MethodGet, "/fetch", nil, &all)
	return all, err
}

// AskFetchNow makes the server of a data directory collect at once what a [[fetch]], or for "" every one, is about. Results
// without an end are still under way.
func AskFetchNow(ctx context.Context, data, name string) (all []FetchResult, err error) {
	err = ask(ctx, data, http.MethodPost, "/fetch/now?name="+url.QueryEscape(name), nil, &all)
	return all, err
}

// notOurselves connects to other servers only: mail that is collected here would be delivered here, for ever.
func (d *Daemon) notOurselves(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if to, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil && d.isOwn(to, "pop3", "pop3s") {
			c.Close()
			return nil, errors.New("this is the server itself: mail would go round in a circle")
		}
		return c, nil
	}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)
