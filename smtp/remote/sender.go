package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/arc"
	"pillarbox/smtp/dkim"
	"pillarbox/smtp/footer"
	"pillarbox/smtp/route"
)

// SenderConfig is what a reload can change.
type SenderConfig struct {
	Options
	Sign bool // sign the mail of local senders whose domain has a key
	Seal bool // seal forwarded mail, if the domain that forwards it has a key (ARC)
	// Footer returns what is added to the mail that local senders of a domain send; nil: nothing.
	Footer func(addr.Domain) footer.Footer
}

// Sender delivers the stored messages of the queue. Before sending, it removes the Return-Path line of
// mailboxes (RFC 5321 §4.4) and adds the footer of a local sender's domain. If the message is ours to
// sign, it signs what is sent with DKIM. It hands each attempt to its current Remote, which SetConfig
// replaces.
// It is safe for concurrent use.
type Sender struct {
	remote atomic.Pointer[Remote]
	sign   atomic.Bool
	seal   atomic.Bool
	footer atomic.Pointer[func(addr.Domain) footer.Footer]
	keys   *dkim.Keys
	sent   chan struct{}
	log    *slog.Logger
}

// NewSender returns a Sender. The caller must call Close after use.
func NewSender(cfg SenderConfig, keys *dkim.Keys, log *slog.Logger) *Sender {
	s := &Sender{keys: keys, sent: make(chan struct{}, 1), log: log}
	s.SetConfig(cfg)
	return s
}

// SetConfig replaces the configuration. Attempts in progress finish with the old one.
func (s *Sender) SetConfig(cfg SenderConfig) {
	s.sign.Store(cfg.Sign)
	s.seal.Store(cfg.Seal)
	s.footer.Store(&cfg.Footer)
	if old := s.remote.Swap(New(cfg.Options)); old != nil {
		old.Close()
	}
}

// Close is Remote.Close.
func (s *Sender) Close() { s.remote.Load().Close() }

// Sent returns a channel that receives a value after a message was delivered. Several deliveries
// may share one value.
func (s *Sender) Sent() <-chan struct{} { return s.sent }

// Probe is Remote.Probe.
func (s *Sender) Probe(ctx context.Context, to, from addr.Address, step func(Step)) {
	s.remote.Load().Probe(ctx, to, from, step)
}

// AskETRN is Remote.AskETRN.
func (s *Sender) AskETRN(
	ctx context.Context, host route.Host, rt *route.Route, node string,
) (smtp.Reply, error) {
	return s.remote.Load().AskETRN(ctx, host, rt, node)
}

// Deliver makes one attempt. See Remote.Deliver.
func (s *Sender) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	return s.deliver(ctx, a, s.remote.Load().Deliver)
}

// ReversedSender delivers like a Sender, over one ReversedConn.
type ReversedSender struct {
	*ReversedConn
	sender *Sender
}

// Reverse takes over a connection as the client. See Remote.Reverse.
func (s *Sender) Reverse(nc net.Conn, name string) *ReversedSender {
	return &ReversedSender{s.remote.Load().Reverse(nc, name), s}
}

// Deliver makes one attempt. See ReversedConn.Deliver.
func (r *ReversedSender) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	return r.sender.deliver(ctx, a, r.ReversedConn.Deliver)
}

func (s *Sender) deliver(
	ctx context.Context, a smtp.Attempt,
	attempt func(context.Context, smtp.Attempt) smtp.Outcome,
) smtp.Outcome {
	s.prepare(&a)
	outcome := attempt(ctx, a)
	delivered := func(r smtp.Result) bool { return r.Status == smtp.Delivered }
	if slices.ContainsFunc(outcome.Results, delivered) {
		select {
		case s.sent <- struct{}{}:
		default:
		}
	}
	return outcome
}

// prepare replaces the stored message of an attempt by the one to be sent, and sets how to sign it.
func (s *Sender) prepare(a *smtp.Attempt) {
	stored := a.Open
	top := smtp.ReturnPath(a.Envelope.From)
	if a.Local && s.sign.Load() {
		from, id := a.Envelope.From.Domain, a.ID
		a.Sign = func(message io.Reader) []byte { return s.signature(stored, message, from, id) }
	}
	if forwarder := a.Envelope.Sender.Domain; forwarder != "" && s.seal.Load() {
		id := a.ID
		a.Sign = func(message io.Reader) []byte { return s.sealed(message, forwarder, id) }
	}
	a.Size -= int64(len(top))
	a.Open = func() (io.ReadCloser, error) {
		f, err := stored()
		if err != nil {
			return nil, err
		}
		return withoutTop(f, top)
	}
	if a.Local {
		s.addFooter(a)
	}
}

// addFooter makes an attempt send the message with the footer of its sender's domain. The stored
// message stays as it is: its copies for mailboxes here have no footer, and every attempt adds the
// same one. A message where that cannot be done right goes unchanged.
func (s *Sender) addFooter(a *smtp.Attempt) {
	find := *s.footer.Load()
	if find == nil {
		return
	}
	f := find(a.Envelope.From.Domain)
	if f.IsZero() {
		return
	}
	open := a.Open
	text, err := open()
	if err != nil {
		return // the attempt finds the same error, and says so
	}
	plan, why, err := footer.Make(text, f)
	if err = errors.Join(err, text.Close()); err != nil || plan == nil {
		s.log.Debug("a message is sent without its footer", "message_id", a.ID,
			"domain", a.Envelope.From.Domain, "reason", why, "error", err)
		return
	}
	a.Open = func() (io.ReadCloser, error) {
		text, err := open()
		if err != nil {
			return nil, err
		}
		return &joined{plan.Apply(text), text}, nil
	}
	a.Size += plan.Delta
	a.Envelope.Body8 = a.Envelope.Body8 || plan.EightBit
}

// signature returns the DKIM-Signature field of a message that is stored, and sent as text, or nil.
// It signs for the domain of From,
// which readers see and DMARC checks, but only if the envelope sender has the same domain. The
// sender's rights were checked against the envelope sender; another domain must not be signed.
func (s *Sender) signature(
	stored func() (io.ReadCloser, error), text io.Reader, from addr.Domain, id string,
) []byte {
	domain, err := authorDomain(stored)
	if err != nil || domain == "" || domain != from {
		return nil
	}
	field, _, err := s.keys.Signature(domain, text)
	if err != nil {
		s.log.Error("a message is sent without its DKIM signature",
			"message_id", id, "domain", domain, "error", err)
	}
	return field
}

// sealTimeout limits the DNS lookups for the seals that a message has.
const sealTimeout = 20 * time.Second

// sealed returns the fields of the seal (RFC 8617) of a message that a domain here forwards, or nil.
func (s *Sender) sealed(message io.Reader, domain addr.Domain, id string) []byte {
	selector, key, err := s.keys.Signer(domain)
	if err != nil {
		s.log.Error("a forwarded message is sent without its ARC seal",
			"message_id", id, "domain", domain, "error", err)
	}
	if err != nil || selector == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sealTimeout)
	defer cancel()
	r := s.remote.Load()
	fields, chain, err := arc.Seal(ctx, message, arc.Options{
		Domain: string(domain), Selector: selector, Key: key, Hostname: r.opts.Hostname,
		Now: time.Now(), LookupTXT: r.lookupTXT,
	})
	if err != nil {
		s.log.Warn("a forwarded message is sent without an ARC seal",
			"message_id", id, "chain", chain, "error", err)
		return nil
	}
	return fields
}

// lookupTXT returns the TXT records of a name. None is no error.
func (r *Remote) lookupTXT(ctx context.Context, name string) ([]string, error) {
	records, err := r.resolver.LookupTXT(ctx, strings.TrimSuffix(name, ".")+".")
	if err != nil && notFound(err) {
		return nil, nil
	}
	return records, err
}

// authorDomain returns the domain of the first address in From, or "".
func authorDomain(stored func() (io.ReadCloser, error)) (addr.Domain, error) {
	f, err := stored()
	if err != nil {
		return "", err
	}
	defer f.Close()
	m, err := mail.ReadMessage(f)
	if err != nil {
		return "", err
	}
	from, err := m.Header.AddressList("From")
	if err != nil {
		return "", err
	}
	author, err := addr.Parse(from[0].Address)
	return author.Domain, err
}

// withoutTop returns the message in f without top at its beginning, if it begins so. On an error f
// is closed.
func withoutTop(f io.ReadCloser, top string) (io.ReadCloser, error) {
	begin := make([]byte, len(top))
	n, err := io.ReadFull(f, begin)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.Join(err, f.Close())
	}
	if n == 0 || string(begin[:n]) == top {
		return f, nil
	}
	return &joined{io.MultiReader(bytes.NewReader(begin[:n]), f), f}, nil
}

type joined struct {
	io.Reader
	io.Closer
}
