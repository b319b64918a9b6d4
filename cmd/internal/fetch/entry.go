package fetch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/mailstore/caught"
	"pillarbox/pop3/collect"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
)

// hinted is an error with a hint for the administrator. collect.Error is another one.
type hinted struct {
	error
	hint string
}

// hintOf returns the hint in an error, or "".
func hintOf(err error) string {
	if e, ok := errors.AsType[*collect.Error](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*hinted](err); ok {
		return e.hint
	}
	return ""
}

// runEntry asks one entry and records the result.
func (s *Scheduler) runEntry(ctx context.Context, cfg config.Fetch, e *entry) {
	result := Result{Name: cfg.Name, Started: time.Now()}
	err := caught.Do(func() error { return s.askAll(ctx, &cfg, &result) })
	caught.Log(s.Log, err, "fetch: a program error at what a server sent", "fetch", cfg.Name)
	result.Ended = time.Now()
	if err != nil {
		result.Error, result.Hint = err.Error(), hintOf(err)
	}
	s.mu.Lock()
	if e.failures++; err == nil {
		e.failures = 0
	}
	e.last, e.running = &result, false
	failures := e.failures
	s.mu.Unlock()
	s.logResult(ctx, &result, failures)
	s.wakeUp()
}

func (s *Scheduler) logResult(ctx context.Context, r *Result, failures int) {
	fields := []any{"fetch", r.Name}
	if len(r.ETRN) > 0 {
		fields = append(fields, "etrn", strings.Join(r.ETRN, "; "))
	}
	fields = append(fields,
		"fetched", r.Fetched, "bytes", r.Bytes, "deleted", r.Deleted, "left", r.Left)
	switch {
	case ctx.Err() != nil:
	case r.Error != "":
		fields = append(fields, "error", r.Error, "failures", failures)
		if r.Hint != "" {
			fields = append(fields, "hint", r.Hint)
		}
		s.Log.Error("fetch: failed", fields...)
	case r.Fetched+r.Deleted > 0 || len(r.ETRN) > 0:
		s.Log.Info("fetch: done", fields...)
	default:
		s.Log.Debug("fetch: nothing new", fields...)
	}
}

// askAll asks by ETRN, then by POP3. A failure of one does not prevent the other.
func (s *Scheduler) askAll(ctx context.Context, cfg *config.Fetch, result *Result) error {
	var err error
	if cfg.ETRNServer != (route.Host{}) {
		err = s.askETRN(ctx, cfg, result)
	}
	if cfg.POP3 == (route.Host{}) {
		return err
	}
	return errors.Join(err, s.askPOP3(ctx, cfg, result))
}

func (s *Scheduler) askETRN(ctx context.Context, cfg *config.Fetch, result *Result) error {
	rt := &route.Route{
		Name: cfg.Name, TLS: cfg.TLS, User: cfg.User, PasswordFile: cfg.PasswordFile,
	}
	if cfg.POP3 != (route.Host{}) {
		// User and TLS belong to the mailbox. The password is still passed on, because the ETRN
		// server may know it: its replies are masked.
		rt = &route.Route{Name: cfg.Name, PasswordFile: cfg.PasswordFile}
	}
	var errs []error
	for _, node := range cfg.ETRNDomains {
		reply, err := s.AskETRN(ctx, cfg.ETRNServer, rt, node)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("ETRN %s: %w", node, err))
		case reply.Code/100 != 2:
			err := fmt.Errorf("ETRN %s: the server says: %w", node, &reply)
			errs = append(errs, &hinted{err, etrnHint(reply.Code)})
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
		return "the server cannot begin to send now; a later attempt may succeed"
	case 459, 530, 550, 554:
		return "the provider must allow this machine to ask for the domain"
	case 500, 502, 503:
		return "the server does not support ETRN, or not for this machine"
	}
	return "ask the provider under which name the mail waits"
}

// askPOP3 empties the mailbox.
func (s *Scheduler) askPOP3(ctx context.Context, cfg *config.Fetch, result *Result) error {
	switch exists, err := s.Resolve(cfg.DeliverTo); {
	case err != nil:
		return err
	case !exists:
		err := fmt.Errorf("%s does not exist: no mail is collected for it", cfg.DeliverTo)
		return &hinted{err, "create it with 'pillarbox admin mailbox add', or change deliver_to"}
	}
	password, token, err := s.secret(ctx, cfg)
	if err != nil {
		return err
	}
	host := cfg.POP3.Name
	if cfg.POP3.Addr.IsValid() {
		host = cfg.POP3.Addr.String()
	}
	own := s.config.Load()
	box := mailbox{Parts: &s.Parts, cfg: cfg, host: host, hostname: own.Hostname, maxHops: own.MaxHops}
	result.Result, err = s.collect(ctx, collect.Options{
		Name: cfg.Name, Host: host, Port: cfg.POP3.Port, ImplicitTLS: cfg.POP3.ImplicitTLS,
		TLS: collectTLS(cfg.TLS), User: cfg.User, Password: password, Token: token,
		Leave: cfg.Leave, LeaveDays: cfg.LeaveDays, MaxSize: own.MaxSize,
		Files: s.Files, Deliver: box.deliver, Dial: s.dial, Log: s.Log,
	})
	if errors.Is(err, collect.ErrLogin) && token != "" {
		s.Tokens.Drop(cfg.OAuth, token) // the next attempt gets a new one
	}
	return err
}

// secret returns the password of the mailbox, or the access token.
func (s *Scheduler) secret(ctx context.Context, cfg *config.Fetch) (
	password, token string, err error,
) {
	if !cfg.OAuth.Enabled() {
		password, err = remote.ReadPassword(cfg.PasswordFile)
		return password, "", err
	}
	got, err := s.Tokens.Token(ctx, cfg.OAuth)
	if e, ok := errors.AsType[*oauth.Error](err); ok {
		err = &hinted{err, e.Hint}
	}
	return "", got.Value, err
}

func collectTLS(mode route.TLSMode) collect.TLSMode {
	return map[route.TLSMode]collect.TLSMode{
		route.TLSOpportunistic: collect.TLSOpportunistic, route.TLSOff: collect.TLSOff,
		route.TLSRequired: collect.TLSRequired, route.TLSVerified: collect.TLSVerified,
	}[mode]
}
