// Package alert tells the postmaster and a webhook when something needs a person: the disk is almost
// full, a certificate ends, mail does not leave. Each alert is told once with its remedy, and once
// when it is over.
//
// Start with [New] and [Alerts.Run]. Run takes a [Reading] each minute. [Decide] compares it with the
// alerts that are active; it is pure. The active alerts and the notices that are not delivered yet
// are in alerts.json in the data directory, so that a restart neither repeats nor loses one. Each
// channel delivers on its own goroutine: a webhook that does not answer delays no mail, and a disk
// that does not answer delays no webhook.
package alert

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"sync"
	"time"

	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/durable"
)

const (
	// File is the name of the file in the data directory.
	File = "alerts.json"

	interval   = time.Minute // between readings
	maxWaiting = 100         // notices that wait for one channel; the oldest are dropped
	maxAge     = 3 * 24 * time.Hour
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// Settings are the keys of [alerts].
type Settings struct {
	Enabled    bool
	Limits     Limits
	Webhook    string // URL; "": none
	SecretFile string // its first line signs what the webhook gets
	German     bool   // language of the mail
	Hostname   string
}

// Parts are what Alerts works with.
type Parts struct {
	Files    durable.FS
	Settings func() Settings
	Read     func() Reading                   // may take a few seconds, but must not wait for the disk
	Mail     func(subject, body string) error // to the postmaster
	Client   *http.Client                     // for the webhook
	Log      *slog.Logger
}

// Alerts decides and delivers.
type Alerts struct {
	Parts
	mail, hook channel
	loaded     sync.Once // at the first look

	mu    sync.Mutex
	state state // owner: mu

	saving sync.Mutex // held while the file is written; taken before mu
	saved  state      // owner: saving; what the file has
	failed bool       // owner: saving; the last write failed, and the log says so
}

// state is the JSON of the file.
type state struct {
	Active map[string]Active `json:"active"`
	Mail   []Notice          `json:"mail,omitempty"`    // notices that wait for a channel
	Hook   []Notice          `json:"webhook,omitempty"` // the oldest first
}

func (s state) clone() state {
	if s.Active = maps.Clone(s.Active); len(s.Active) == 0 {
		s.Active = nil
	}
	s.Mail = append([]Notice(nil), s.Mail...)
	s.Hook = append([]Notice(nil), s.Hook...)
	return s
}

// channel is one way to tell a notice.
type channel struct {
	name string
	wake chan struct{}
	list func(*state) *[]Notice // those that wait
	send func(ctx context.Context, n Notice) error
}

// New returns Alerts, which reads its file at the first look.
func New(parts Parts) *Alerts {
	a := &Alerts{Parts: parts}
	a.mail = channel{
		name: "mail", wake: make(chan struct{}, 1),
		list: func(s *state) *[]Notice { return &s.Mail }, send: a.sendMail,
	}
	a.hook = channel{
		name: "webhook", wake: make(chan struct{}, 1),
		list: func(s *state) *[]Notice { return &s.Hook }, send: a.sendHook,
	}
	return a
}

// Run works until ctx ends.
func (a *Alerts) Run(ctx context.Context) {
	var channels sync.WaitGroup
	defer channels.Wait()
	channels.Go(func() { a.deliver(ctx, &a.mail) })
	channels.Go(func() { a.deliver(ctx, &a.hook) })
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			err := caught.Do(func() error { a.look(); return nil })
			caught.Log(a.Log, err, "a program error in an alert")
		case <-ctx.Done():
			return
		}
	}
}

func (a *Alerts) load() {
	text, err := durable.ReadSmall(a.Files, File, durable.MaxSmall)
	if err != nil {
		return // there is none
	}
	var s state
	if err := durable.DecodeStrict(text, &s); err != nil {
		a.Log.Error("the file of active alerts is damaged; alerts may be told again",
			"file", File, "error", err)
		return
	}
	a.mu.Lock()
	a.state = s
	a.mu.Unlock()
	a.saving.Lock()
	a.saved = s.clone()
	a.saving.Unlock()
	a.mail.poke()
	a.hook.poke()
}

// look takes a reading and queues what it means.
func (a *Alerts) look() {
	settings := a.Settings()
	if !settings.Enabled {
		return
	}
	a.loaded.Do(a.load)
	r := a.Read()
	a.mu.Lock()
	active, notices := Decide(a.state.Active, settings.Limits, r)
	a.state.Active = active
	for _, n := range notices {
		// The session that held the account has told the postmaster already.
		if n.Kind != Account {
			a.state.Mail = push(a.state.Mail, n)
		}
		if settings.Webhook != "" {
			a.state.Hook = push(a.state.Hook, n)
		}
	}
	a.mu.Unlock()
	for _, n := range notices {
		subject, _ := n.Text(false)
		a.Log.Warn("alert", "event", n.Event, "kind", n.Kind, "alert", subject)
	}
	if len(notices) > 0 {
		a.mail.poke()
		a.hook.poke()
	}
	a.save()
}

// push appends a notice, and drops the oldest of too many.
func push(waiting []Notice, n Notice) []Notice {
	waiting = append(waiting, n)
	return waiting[max(0, len(waiting)-maxWaiting):]
}

func (c *channel) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// save writes the state if it changed.
func (a *Alerts) save() {
	a.saving.Lock()
	defer a.saving.Unlock()
	a.mu.Lock()
	now := a.state.clone()
	a.mu.Unlock()
	if reflect.DeepEqual(now, a.saved) {
		return
	}
	err := durable.WriteJSON(a.Files, File, now)
	if err == nil {
		a.saved = now
	} else if !a.failed {
		a.Log.Error("cannot write the active alerts; a restart may tell them again",
			"file", File, "error", err)
	}
	a.failed = err != nil
}

// deliver sends the notices of a channel, the oldest first, until ctx ends. After a failure it waits
// longer each time. Notices that are too old are dropped.
func (a *Alerts) deliver(ctx context.Context, c *channel) {
	var wait time.Duration // after the last attempt; 0: it succeeded
	var next time.Time
	for {
		var due <-chan time.Time
		if _, ok := a.first(c); ok {
			due = time.After(time.Until(next))
		}
		select {
		case <-due:
		case <-c.wake:
			continue
		case <-ctx.Done():
			return
		}
		n, ok := a.first(c)
		if !ok {
			continue
		}
		err := caught.Do(func() error { return c.send(ctx, n) })
		if ctx.Err() != nil {
			return
		}
		wait = a.sent(c, n, err, wait)
		next = time.Now().Add(wait)
	}
}

// first returns the oldest notice that waits, without those that are too old.
func (a *Alerts) first(c *channel) (Notice, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := c.list(&a.state)
	for len(*waiting) > 0 && time.Since((*waiting)[0].Time) > maxAge {
		a.Log.Error("an alert could not be told", "by", c.name, "kind", (*waiting)[0].Kind)
		*waiting = (*waiting)[1:]
	}
	if len(*waiting) == 0 {
		return Notice{}, false
	}
	return (*waiting)[0], true
}

// sent handles the result of an attempt, and returns the wait before the next one.
func (a *Alerts) sent(c *channel, n Notice, err error, wait time.Duration) time.Duration {
	if err != nil {
		if wait == 0 {
			a.Log.Error("cannot tell of an alert; trying again", "by", c.name, "kind", n.Kind,
				"error", err)
		}
		return min(max(firstRetry, 2*wait), lastRetry)
	}
	if wait > 0 {
		a.Log.Info("alerts are told again", "by", c.name)
	}
	a.mu.Lock()
	waiting := c.list(&a.state)
	if len(*waiting) > 0 && (*waiting)[0] == n {
		*waiting = (*waiting)[1:]
	}
	a.mu.Unlock()
	a.save()
	return 0
}

func (a *Alerts) sendMail(_ context.Context, n Notice) error {
	subject, body := n.Text(a.Settings().German)
	return a.Mail(subject, body)
}
