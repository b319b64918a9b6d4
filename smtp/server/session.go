package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/wire"
)

// session is one client's session. The library calls it from one goroutine.
type session struct {
	srv     *Server
	cfg     *Config
	conn    *wire.Conn
	service smtp.Service
	remote  netip.AddrPort
	log     *slog.Logger

	user auth.Principal // zero: nobody has logged in
	env  smtp.Envelope
	dirs []string // mailboxes that get the message, each once
}

// facts are what policy is asked with.
func (s *session) facts() policy.Facts {
	return policy.Facts{
		Service: s.service,
		Remote:  s.remote.Addr(),
		TLS:     s.conn.TLS() != nil,
		User:    s.user.Address,
	}
}

// info is what the Received header tells of the session.
func (s *session) info() smtp.SessionInfo {
	helo, extended := s.conn.Helo()
	return smtp.SessionInfo{
		Service: s.service, Remote: s.remote, TLS: s.conn.TLS(),
		Helo: helo, Extended: extended, User: s.user.Address,
	}
}

// Mail begins a transaction (RFC 5321 §4.1.1.2).
func (s *session) Mail(_ string, opts *gosmtp.MailOptions) error {
	from := s.conn.Path()
	if d := s.cfg.Rules.Mail(s.facts()); d.Verdict == policy.Refuse {
		return s.refuse(d.Reply, "from", from)
	}
	if limit := s.cfg.Wire.MaxMessageSize; limit > 0 && opts.Size > limit {
		return s.refuse(smtp.NewReply(552, [3]int{5, 3, 4}, "Message size exceeds the limit of %d octets", limit), "from", from)
	}
	if !from.IsASCII() && !opts.UTF8 {
		return s.refuse(replyNeedsUTF8(), "from", from)
	}
	s.Reset()
	s.env = smtp.Envelope{
		From: from, Size: opts.Size, UTF8: opts.UTF8, Body8: opts.Body == gosmtp.Body8BitMIME,
		Ret: string(opts.Return), EnvID: opts.EnvelopeID,
	}
	return nil
}

func replyNeedsUTF8() *smtp.Reply {
	return smtp.NewReply(553, [3]int{5, 6, 7}, "An address with other than ASCII letters needs SMTPUTF8")
}

// Rcpt resolves a recipient at once (RFC 5321 §3.3), so that no message to
// nobody is ever taken and no report about it ever owed.
func (s *session) Rcpt(_ string, opts *gosmtp.RcptOptions) error {
	to := s.recipient()
	if !to.IsASCII() && !s.env.UTF8 {
		return s.refuse(replyNeedsUTF8(), "to", to)
	}
	res, err := s.srv.dir.Resolve(to)
	if err != nil {
		s.log.Error("cannot look up a recipient", "to", to.String(), "error", err)
		return s.refuse(smtp.NewReply(451, [3]int{4, 3, 0}, "Cannot look up %s now, try again later", to), "to", to)
	}
	facts := s.facts()
	facts.Recipient, facts.Hosted = to, res.Kind != directory.Remote
	if d := s.cfg.Rules.Relay(facts); d.Verdict == policy.Refuse {
		return s.refuse(d.Reply, "to", to)
	}
	switch {
	case res.Kind == directory.Unknown:
		return s.refuse(smtp.NewReply(550, [3]int{5, 1, 1}, "%s: there is no such mailbox here", to), "to", to)
	case res.Kind == directory.Remote, len(res.Forward) > 0:
		return s.refuse(smtp.NewReply(451, [3]int{4, 3, 3}, "Mail to other servers (%s) cannot be sent yet by this version", to), "to", to)
	}
	if err := s.addMailboxes(res.Mailboxes); err != nil {
		return s.refuse(err, "to", to)
	}
	s.env.To = append(s.env.To, newRecipient(to, opts))
	return nil
}

// recipient is the RCPT's address. The postmaster of the server itself, by its
// name or its number, is the office's.
func (s *session) recipient() addr.Address {
	to := s.conn.Path()
	if isPostmaster(to.Local) && (to.Domain.IsLiteral() || string(to.Domain) == s.cfg.Wire.Hostname) {
		if domain := s.srv.defaultDomain(to.Local); domain != "" {
			to.Domain = domain
		}
	}
	return to
}

// addMailboxes notes where the message goes. A mailbox without room refuses the
// recipient now, before the body crosses the wire.
func (s *session) addMailboxes(boxes []directory.Mailbox) *smtp.Reply {
	for _, box := range boxes {
		switch err := s.srv.store.Room(box.Dir, s.env.Size); {
		case errors.Is(err, mailstore.ErrOverQuota):
			return smtp.NewReply(552, [3]int{5, 2, 2}, "The mailbox %s is full", box.Address)
		case err != nil:
			s.log.Error("cannot check the room in a mailbox", "mailbox", box.Address.String(), "error", err)
			return smtp.NewReply(451, [3]int{4, 3, 0}, "Cannot reach the mailbox %s now, try again later", box.Address)
		}
	}
	for _, box := range boxes {
		if !slices.Contains(s.dirs, box.Dir) {
			s.dirs = append(s.dirs, box.Dir)
		}
	}
	return nil
}

func newRecipient(to addr.Address, opts *gosmtp.RcptOptions) smtp.Recipient {
	r := smtp.Recipient{Address: to, ORcptType: string(opts.OriginalRecipientType), ORcpt: opts.OriginalRecipient}
	for _, n := range opts.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	return r
}

// Data takes the message (RFC 5321 §4.1.1.4). The 250 means: durable in the
// mailbox of every recipient, and there to be fetched.
func (s *session) Data(io.Reader) error {
	in, err := s.srv.store.Create()
	if err != nil {
		return s.dataError(err)
	}
	defer in.Abort()
	if err := s.receive(in); err != nil {
		return s.dataError(err)
	}
	id, err := in.Commit(s.dirs)
	if err != nil {
		return s.dataError(err)
	}
	s.log.Info("message stored", "id", id, "from", s.env.From.String(), "to", recipients(s.env.To),
		"size", in.Size(), "user", s.user.Address.String(), "mailboxes", len(s.dirs))
	return wireReply(smtp.NewReply(250, [3]int{2, 6, 0}, "Message accepted, queued as %s", id))
}

func recipients(to []smtp.Recipient) []string {
	var all []string
	for _, r := range to {
		all = append(all, r.Address.String())
	}
	return all
}

// receive writes the message with the headers that a server adds.
func (s *session) receive(in *mailstore.Incoming) error {
	body := s.conn.Body()
	head, err := readHeader(body)
	if err != nil {
		return err
	}
	fields := traceHeader(s.info(), &s.env, s.cfg.Wire.Hostname, in.ID(), s.srv.now())
	if s.service.DemandsAuth() || !s.user.Address.IsZero() {
		fields = append(fields, head.missing(in.ID(), s.cfg.Wire.Hostname, s.srv.now())...)
	}
	if _, err := in.Write(fields); err != nil {
		return err
	}
	if _, err := in.Write(head.octets); err != nil {
		return err
	}
	_, err = body.WriteTo(in)
	return err
}

// dataError chooses what the client is told when a message was not taken.
func (s *session) dataError(err error) error {
	var r *smtp.Reply
	switch {
	case errors.Is(err, wire.ErrTooLarge):
		r = smtp.NewReply(552, [3]int{5, 3, 4}, "Message size exceeds the limit of %d octets", s.cfg.Wire.MaxMessageSize)
	case errors.Is(err, wire.ErrTextLine):
		r = smtp.NewReply(554, [3]int{5, 6, 0}, "A line of the message is longer than %d octets", s.cfg.Wire.MaxTextLine)
	case errors.Is(err, wire.ErrBareEnding):
		r = smtp.NewReply(554, [3]int{5, 6, 0}, "The message has a line end that is not CRLF (RFC 5321 section 2.3.8)")
	case errors.Is(err, errHeaderTooLong):
		r = smtp.NewReply(554, [3]int{5, 6, 0}, "The header of the message is longer than %d octets", maxHeader)
	case errors.Is(err, mailstore.ErrOverQuota):
		r = smtp.NewReply(452, [3]int{4, 2, 2}, "A recipient's mailbox has become full, try again later")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		r = smtp.NewReply(452, [3]int{4, 3, 1}, "Insufficient system storage, try again later")
	default:
		r = smtp.NewReply(451, [3]int{4, 3, 0}, "The message could not be stored, try again later")
	}
	level := slog.LevelInfo
	if r.Temporary() {
		level = slog.LevelError
	}
	s.log.Log(context.Background(), level, "message not taken", "from", s.env.From.String(),
		"to", recipients(s.env.To), "reply", r.Error(), "error", err)
	return wireReply(r)
}

// refuse logs a refusal and gives it to the library.
func (s *session) refuse(r *smtp.Reply, role string, a addr.Address) error {
	s.log.Info("refused", role, a.String(), "user", s.user.Address.String(), "reply", r.Error())
	return wireReply(r)
}

// wireReply is the one place where our replies become the library's.
func wireReply(r *smtp.Reply) error {
	return &gosmtp.SMTPError{Code: r.Code, EnhancedCode: r.Enhanced, Message: r.Text}
}

// Reset forgets the transaction.
func (s *session) Reset() { s.env, s.dirs = smtp.Envelope{}, nil }

// Logout is the end of the connection. It runs under the library's lock.
func (s *session) Logout() error { return nil }

// AuthMechanisms is what EHLO offers: nothing where a password would cross the
// wire in the clear against the rules.
func (s *session) AuthMechanisms() []string {
	if s.cfg.Rules.LogIn(s.facts()).Verdict == policy.Refuse {
		return nil
	}
	return []string{sasl.Plain, sasl.Login}
}

// Auth begins an AUTH exchange (RFC 4954).
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if d := s.cfg.Rules.LogIn(s.facts()); d.Verdict == policy.Refuse {
		return nil, wireReply(d.Reply)
	}
	switch mechanism {
	case sasl.Plain:
		return &saslServer{auth.NewPLAIN(s.logIn)}, nil
	case sasl.Login:
		return &saslServer{auth.NewLOGIN(s.logIn)}, nil
	}
	return nil, wireReply(smtp.NewReply(504, [3]int{5, 5, 4}, "Mechanism not offered here; use PLAIN or LOGIN"))
}

func (s *session) logIn(user, password string) error {
	p, err := s.srv.auth.Password(context.Background(), s.remote.Addr(), user, password)
	if err == nil {
		s.user = p
	}
	return err
}

// saslServer turns an exchange's errors into replies.
type saslServer struct{ sasl.Server }

func (s *saslServer) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := s.Server.Next(response)
	if err != nil {
		err = wireReply(authReply(err))
	}
	return challenge, done, err
}

func authReply(err error) *smtp.Reply {
	switch {
	case errors.Is(err, auth.ErrMalformed):
		return smtp.NewReply(501, [3]int{5, 5, 2}, "Malformed response")
	case errors.Is(err, auth.ErrLocked):
		return smtp.NewReply(535, [3]int{5, 7, 13}, "This mailbox is locked; ask your administrator")
	case errors.Is(err, auth.ErrTemporary):
		return smtp.NewReply(454, [3]int{4, 7, 0}, "Temporary authentication failure, try again later")
	}
	return smtp.NewReply(535, [3]int{5, 7, 8}, "Authentication credentials invalid")
}
