package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/verify"
	"pillarbox/smtp/wire"
	"pillarbox/tls/strength"
)

// session serves one client. It implements wire.Session.
type session struct {
	srv    *Server
	cfg    *Config
	conn   *wire.Conn
	remote netip.AddrPort
	gather Gatherer
	log    *slog.Logger

	facts policy.Facts
	user  auth.Principal
	count int64 // messages that were accepted
	transaction
}

// transaction is the current message, except its facts.
type transaction struct {
	env     smtp.Envelope
	targets []delivery.Target // where the mail for the recipients goes
	vouched smtp.Standing     // what DNS vouches for the sender of a stranger's message
	marked  string            // the value of the policy.MarkHeader field; "" means none
	logged  string            // the latest Console line of an accepted recipient
	fieldID string            // the Message-ID of the header, for the log
	rule    string            // that permitted the last recipient, for the event
}

// current returns the facts, with the present state of the connection.
func (s *session) current() *policy.Facts {
	s.facts.Helo, _ = s.conn.Helo()
	if t := s.conn.TLS(); t != nil {
		s.facts.TLSVersion = t.Version
		if strength.WeakCipher(t.CipherSuite) {
			s.facts.WeakCipher = tls.CipherSuiteName(t.CipherSuite)
		}
	}
	return &s.facts
}

// info is what the Received header contains about the session.
func (s *session) info() smtp.SessionInfo {
	helo, extended := s.conn.Helo()
	return smtp.SessionInfo{
		Service: s.facts.Service, Remote: s.remote, TLS: s.conn.TLS(),
		Helo: helo, Extended: extended, User: s.user.Address,
	}
}

// Mail begins a transaction (RFC 5321 §4.1.1.2).
func (s *session) Mail(from addr.Address, opts *gosmtp.MailOptions) *smtp.Reply {
	if limit := s.cfg.Wire.MaxMessageSize; limit > 0 && opts.Size > limit {
		return s.refuse(replyTooLarge(limit), "from", from)
	}
	if !from.IsASCII() && !opts.UTF8 {
		return s.refuse(replyNeedsUTF8(), "from", from)
	}
	s.Reset()
	s.facts.Size = opts.Size
	if r := s.gatherMail(from); r != nil {
		return s.refuse(r, "from", from)
	}
	if r := s.decide(s.cfg.Rules.Mail(&s.facts)); r != nil {
		return r
	}
	s.env = smtp.Envelope{
		From: s.cfg.Rules.SenderOf(&s.facts), Size: opts.Size, UTF8: opts.UTF8, Body8: opts.Body == gosmtp.Body8BitMIME,
	}
	if s.OffersDSN() {
		s.env.Ret, s.env.EnvID = string(opts.Return), opts.EnvelopeID
	}
	return nil
}

// gatherMail collects the facts for Mail. It asks for devices and rights anew with each message,
// so that a change by an administrator counts at once.
func (s *session) gatherMail(from addr.Address) *smtp.Reply {
	f := s.current()
	s.gather.Device(f)
	if f.Device != nil && s.user.Dir == "" {
		s.conn.Live().SetUser(f.Device.Name)
	}
	if s.user.Dir != "" {
		if r := s.gatherUser(f); r != nil {
			return r
		}
	} else if r := s.gatherRecent(f, from); r != nil {
		return r
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.dnsLimit())
	defer cancel()
	if err := s.gather.Sender(ctx, f, from); err != nil {
		return s.failed("the sender", err)
	}
	return nil
}

// gatherUser collects the rights of the user who has logged in.
func (s *session) gatherUser(f *policy.Facts) *smtp.Reply {
	if err := s.gather.User(f, s.user.Address); errors.Is(err, errNoAccess) {
		return smtp.NewReply(535, [3]int{5, 7, 13}, noSMTPAccess)
	} else if errors.Is(err, errGone) {
		return smtp.NewReply(535, [3]int{5, 7, 13}, "This mailbox is locked; ask your administrator")
	} else if err != nil {
		return s.failed("the rights of the user", err)
	}
	if err := s.srv.Auth.StillPermits(s.user, auth.ServiceSMTP); err != nil {
		return authReply(err) // such as an app password that was removed
	}
	return nil
}

// gatherRecent collects the rights of a user who has read mail by POP3 from the client's address, if
// the client has not logged in and is no device. The user counts for one message: another one at the
// same address may send the next. Mail with a sender from elsewhere, or none, stays a stranger's: a
// gateway may have the same address as the user.
func (s *session) gatherRecent(f *policy.Facts, from addr.Address) *smtp.Reply {
	f.User = policy.User{}
	if s.srv.Recent == nil || f.Device != nil || from.IsZero() {
		return nil
	}
	user, ok := s.srv.Recent.Find(s.remote.Addr(), from)
	if !ok {
		return nil
	}
	if hosted, err := s.srv.Dir.Hosts(from.Domain); err != nil {
		return s.failed("the sender's domain", err)
	} else if !hosted {
		return nil
	}
	err := s.gather.User(f, user)
	if errors.Is(err, errGone) || errors.Is(err, errNoAccess) {
		f.User = policy.User{}
		return nil
	} else if err != nil {
		return s.failed("the rights of the user", err)
	}
	f.User.ByPOP3 = true
	return nil
}

// account is the address of the user, who has logged in here or by POP3; zero for other clients.
func (s *session) account() addr.Address { return s.facts.User.Address }

// dnsLimit is the time for the look-ups of one command.
func (s *session) dnsLimit() time.Duration {
	return cmp.Or(s.cfg.Rules.Senders.VerifyTimeout, 30*time.Second)
}

// failed logs a look-up that failed, and returns the reply.
func (s *session) failed(what string, err error) *smtp.Reply {
	if errors.Is(err, directory.ErrDamaged) {
		// The directory logs this error once an hour. Here it would be logged for each message.
		s.log.Debug("cannot look up "+what, "error", err)
		return smtp.NewReply(451, [3]int{4, 3, 5}, "The settings for %s cannot be read, try again later; the administrator must repair them", what)
	}
	s.log.Error("cannot look up "+what, "error", err)
	if errors.Is(err, directory.ErrUnusable) {
		return replyUnusable(what)
	}
	return smtp.NewReply(451, [3]int{4, 3, 0}, "Cannot look up %s now, try again later", what)
}

// replyUnusable is the reply about a directory entry that an administrator must correct. It is
// permanent, because a retry would fail too.
func replyUnusable(what string) *smtp.Reply {
	return smtp.NewReply(550, [3]int{5, 3, 5}, "%s%s cannot be used: its entry in the directory has to be changed; tell the postmaster",
		strings.ToUpper(what[:1]), what[1:])
}

// replyTooLarge refuses a message by its declared or by its actual size.
func replyTooLarge(limit int64) *smtp.Reply {
	return smtp.NewReply(552, [3]int{5, 3, 4}, "Message size exceeds the limit of %d octets", limit)
}

func replyNeedsUTF8() *smtp.Reply {
	return smtp.NewReply(553, [3]int{5, 6, 7}, "An address with other than ASCII letters needs SMTPUTF8")
}

// decide logs a refusal, and returns the reply with its trace id. It returns nil for an accept.
func (s *session) decide(d policy.Decision) *smtp.Reply {
	if d.Verdict == policy.Accept {
		return nil
	}
	return s.logRefusal(d, d.Reply)
}

// logRefusal logs a refusal with its facts and steps, and returns the reply with the trace id of
// the log line.
func (s *session) logRefusal(d policy.Decision, reply *smtp.Reply) *smtp.Reply {
	return s.logRefusalOf("", d, reply)
}

// logRefusalOf is logRefusal for a cause that is none of the rules.
func (s *session) logRefusalOf(cause string, d policy.Decision, reply *smtp.Reply) *smtp.Reply {
	trace := rand.Text()[:6]
	if d.Console != "" {
		s.log.Warn(d.Console)
	}
	steps := make([]string, len(d.Steps))
	for i, step := range d.Steps {
		steps[i] = step.String()
	}
	s.log.Info("refused", "trace_id", trace, "stage", d.Stage, "reply", reply.Error(), "user", s.account().String(),
		"from", s.facts.From.String(), "to", s.facts.To.String(), "helo", s.facts.Helo, "steps", steps)
	s.recordOf(cause, trace, d)
	s.trackRefusal(trace, d, reply)
	traced := *reply
	traced.Text += " [" + trace + "]"
	return &traced
}

// record adds a decision to the decision log.
func (s *session) record(trace string, d policy.Decision) { s.recordOf("", trace, d) }

// isSelfTest reports whether the client is "pillarbox selftest relay". No administrator would ask for
// the refusals of its attempts.
func (s *session) isSelfTest() bool {
	const own = smtp.SelfTestDomain
	return s.facts.Helo == own || s.facts.From.Domain == own || s.facts.To.Domain == own
}

// recordOf adds a decision with another cause than the rules.
func (s *session) recordOf(cause, trace string, d policy.Decision) {
	if s.srv.Decisions == nil || s.isSelfTest() {
		return
	}
	facts := s.facts
	if facts.Device != nil {
		device := *facts.Device
		facts.Device = &device
	}
	r := decisionlog.Record{Time: s.srv.now(), Trace: trace, Stage: d.Stage, Cause: cause, Facts: facts, Verdict: d.Verdict.String()}
	if d.Reply != nil {
		r.Reply = d.Reply.Error()
	}
	s.srv.Decisions.Add(r)
}

// Rcpt resolves a recipient at once (RFC 5321 §3.3): mail for an unknown recipient must be refused,
// not accepted and bounced.
func (s *session) Rcpt(to addr.Address, opts *gosmtp.RcptOptions) *smtp.Reply {
	to = s.localPostmaster(to)
	if !to.IsASCII() && !s.env.UTF8 {
		return s.refuse(replyNeedsUTF8(), "to", to)
	}
	f := s.current()
	ctx, cancel := context.WithTimeout(context.Background(), s.dnsLimit())
	defer cancel()
	res, err := s.gather.Recipient(ctx, f, to)
	if err != nil {
		return s.failed("the recipient", err)
	}
	s.gatherDeviceUse(f)
	d := s.cfg.Rules.Rcpt(f)
	if r := s.decide(d); r != nil {
		return r
	}
	s.countDevice(f)
	s.record("", d)
	if r := s.countRemote(f); r != nil {
		return s.refuse(r, "to", to)
	}
	s.recordMark(d)
	s.rule = lastRule(d)
	target := delivery.NewTarget(s.newRecipient(to, opts), res)
	if r := s.dropFull(&target); r != nil {
		return r
	}
	shareBoxes(&target, s.targets)
	s.env.To = append(s.env.To, target.Recipient)
	s.targets = append(s.targets, target)
	return nil
}

// recordMark keeps the mark of an accepted recipient for the header, and logs its Console line
// once per message.
func (s *session) recordMark(d policy.Decision) {
	if d.Mark != "" {
		s.marked = d.Mark
	}
	if d.Console != "" && d.Console != s.logged {
		s.logged = d.Console
		s.log.Warn(d.Console)
	}
}

// localPostmaster replaces the postmaster at the server's host name or IP address by the postmaster
// of the default domain.
func (s *session) localPostmaster(to addr.Address) addr.Address {
	if addr.IsPostmaster(to.Local) && (to.Domain.IsLiteral() || string(to.Domain) == s.cfg.Wire.Hostname) {
		if domain := s.srv.defaultDomain(to.Local); domain != "" {
			to.Domain = domain
		}
	}
	return to
}

// ownFields is an estimate of the octets that this server adds on top of a message.
const ownFields = 1 << 10

// expectedSize is the space that the message needs in a mailbox; 0 means that the client has not
// declared its size.
func (s *session) expectedSize() int64 {
	if s.env.Size == 0 {
		return 0
	}
	return s.env.Size + ownFields
}

// dropFull removes the full mailboxes from a target. If none is left, the recipient is refused
// before its message is sent. A group with some full members still gets its mail.
func (s *session) dropFull(t *delivery.Target) *smtp.Reply {
	room := make([]directory.Mailbox, 0, len(t.Boxes))
	var full error // of the first full mailbox
	for _, box := range t.Boxes {
		if box.New { // it is created when the message has come
			room = append(room, box)
			continue
		}
		switch err := s.srv.Store.Room(box.Dir, s.expectedSize()); {
		case errors.Is(err, mailstore.ErrOverQuota):
			t.Full = append(t.Full, box.Address)
			full = cmp.Or(full, err)
		case err != nil:
			s.log.Error("cannot check the quota of a mailbox", "mailbox", box.Address.String(), "error", err)
			return smtp.NewReply(451, [3]int{4, 3, 0}, "Cannot reach the mailbox %s now, try again later", box.Address)
		default:
			room = append(room, box)
		}
	}
	if len(t.Full) > 0 && len(room)+len(t.Remote) == 0 {
		return s.refuseFull("rcpt", t.Full, s.srv.Delivery.FullReply(t.Full, full))
	}
	t.Boxes = room
	return nil
}

// refuseFull logs and records a refusal for lack of room, and returns the reply with its trace id.
func (s *session) refuseFull(stage string, full []addr.Address, r *smtp.Reply) *smtp.Reply {
	step := policy.Step{Rule: "quota", Subject: addresses(full), Outcome: "cannot take the message"}
	return s.logRefusalOf(decisionlog.CauseQuota,
		policy.Decision{Verdict: policy.Refuse, Stage: stage, Reply: r, Steps: []policy.Step{step}}, r)
}

// shareBoxes lets a target share an equal list of mailboxes with an earlier target of the message.
// Otherwise a hundred RCPTs of a large group would take much memory on each connection.
func shareBoxes(t *delivery.Target, earlier []delivery.Target) {
	same := func(a, b directory.Mailbox) bool { return a.Dir == b.Dir && a.New == b.New }
	for i := range earlier {
		if slices.EqualFunc(t.Boxes, earlier[i].Boxes, same) {
			t.Boxes = earlier[i].Boxes
			return
		}
	}
}

// newRecipient returns a recipient with its DSN parameters. If reports are not offered to the
// client, only NOTIFY=NEVER counts. The other parameters are ignored, not refused: some programs
// send them without looking at EHLO.
func (s *session) newRecipient(to addr.Address, opts *gosmtp.RcptOptions) smtp.Recipient {
	r, offered := smtp.Recipient{Address: to}, s.OffersDSN()
	if offered {
		r.ORcptType, r.ORcpt = string(opts.OriginalRecipientType), opts.OriginalRecipient
	}
	for _, n := range opts.Notify {
		if offered || n == gosmtp.DSNNotifyNever {
			r.Notify = append(r.Notify, string(n))
		}
	}
	return r
}

// BareEndings decides on bare CRs and LFs of the message.
func (s *session) BareEndings() wire.BareEndings {
	switch normalise, dotAtLF := s.cfg.Rules.Repairs(s.current()); {
	case dotAtLF:
		return wire.NormaliseBareDot
	case normalise:
		return wire.NormaliseBare
	}
	return wire.RefuseBare
}

// Data receives the message (RFC 5321 §4.1.1.4). After the 250 it is durable, and visible to POP3,
// in the mailbox of every local recipient that is not full, and durable in the queue for remote
// recipients.
func (s *session) Data(body *wire.Body) *smtp.Reply {
	in := s.srv.Store.Create()
	defer in.Abort()
	hold := headerHold{room: &s.srv.headroom}
	defer hold.release()
	head, err := s.receive(in, body, &hold)
	if err != nil {
		return s.dataError(err)
	}
	m := &delivery.Message{
		Envelope: &s.env, Targets: s.targets, Source: s.source(), Header: head, Rule: s.rule,
		Refusable: true,
	}
	if s.account().IsZero() && s.facts.Device != nil {
		m.Device = s.facts.Device.Name
	}
	full, err := s.srv.Delivery.Commit(in, m)
	if r, ok := errors.AsType[*delivery.Refusal](err); ok {
		return s.refuseByRule(r)
	}
	if r, ok := errors.AsType[*smtp.Reply](err); ok && len(full) > 0 {
		return s.refuseFull("message", full, r)
	}
	if err != nil {
		return s.dataError(err)
	}
	s.log.Info("message stored", "message_id", in.ID(), "from", s.env.From.String(), "to", recipients(s.env.To),
		"size", in.Size(), "user", s.account().String(), "header_message_id", s.fieldID)
	s.count++
	if len(full) == 0 {
		return smtp.NewReply(250, [3]int{2, 6, 0}, "Message accepted, queued as %s", in.ID())
	}
	s.log.Warn("mailboxes are full", "message_id", in.ID(), "from", s.env.From.String(), "mailboxes", addresses(full), "size", in.Size())
	return smtp.NewReply(250, [3]int{2, 6, 0}, "Message accepted, queued as %s, but not for %s: full",
		in.ID(), addresses(full))
}

// refuseByRule logs and records the refusal of a recipient's own rule, and returns the reply with its
// trace id.
func (s *session) refuseByRule(r *delivery.Refusal) *smtp.Reply {
	step := policy.Step{
		Rule: "rules of a mailbox", Subject: r.Mailbox.String(),
		Outcome: fmt.Sprintf("rule %d refuses the message", r.Rule),
	}
	return s.logRefusalOf(decisionlog.CauseMailbox, policy.Decision{
		Verdict: policy.Refuse, Stage: "message", Reply: r.Reply, Steps: []policy.Step{step},
	}, r.Reply)
}

// source is the origin of the message, for the queue.
func (s *session) source() queue.Source {
	helo, _ := s.conn.Helo()
	return queue.Source{
		Service: s.facts.Service.String(), Remote: s.remote.Addr(), Helo: helo, User: s.account(),
		Local: !s.account().IsZero() || s.facts.Device != nil, Standing: s.standing(),
	}
}

// standing returns how the sender of the message was verified: by the session, or for a stranger by
// DNS.
func (s *session) standing() smtp.Standing {
	own := s.cfg.Rules.Standing(&s.facts)
	if own == smtp.StandingNone && s.vouched != smtp.StandingUnknown {
		return s.vouched
	}
	return own
}

// OffersDSN reports whether the client may ask for delivery reports (RFC 3461).
func (s *session) OffersDSN() bool { return s.cfg.DSNForAll || s.cfg.Rules.OffersDSN(s.current()) }

func addresses(all []addr.Address) string {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

func recipients(to []smtp.Recipient) []string {
	var all []string
	for _, r := range to {
		all = append(all, r.Address.String())
	}
	return all
}

// receive writes the message with the fields that a server adds, and returns its header.
func (s *session) receive(in *mailstore.Incoming, body *wire.Body, hold *headerHold) (octets []byte, err error) {
	head, err := readHeader(body, hold)
	if err != nil {
		return nil, err
	}
	f := s.current()
	f.Hops, s.fieldID = head.hops, head.loggedID()
	field, senders, bad := head.responsible()
	if err := s.gather.Header(f, field, senders, bad); err != nil {
		return nil, err
	}
	d := s.cfg.Rules.Message(f)
	if r := s.decide(d); r != nil {
		return nil, r
	}
	s.record("", d)
	// The client may have forged results in our name (RFC 8601 §5).
	head.octets = verify.Strip(head.octets, s.cfg.Wire.Hostname)
	fields := s.traceHeader(in.ID(), s.srv.now())
	if f.Service.Submits() || !s.account().IsZero() {
		fields = append(fields, head.missing(in.ID(), s.cfg.Wire.Hostname, s.srv.now())...)
	}
	if s.marked != "" {
		fields = fmt.Appendf(fields, "%s: %s\r\n", policy.MarkHeader, s.marked)
	}
	if s.checksSender() {
		return head.octets, s.receiveChecked(in, fields, &head, body)
	}
	return head.octets, writeAll(in, fields, head.octets, body)
}

func writeAll(w io.Writer, fields, header []byte, body io.WriterTo) error {
	if _, err := w.Write(fields); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	_, err := body.WriteTo(w)
	return err
}

// clientName is the text about the client's name in DNS in the Received header, with a space after
// it; "" if names are not looked up. The words are those of the IIS service: the name that the
// client gave in EHLO must be the one that DNS has for its address.
func (s *session) clientName() string {
	if !s.cfg.Rules.Connections.ReverseDNS.Value {
		return ""
	}
	helo, _ := s.conn.Helo()
	switch {
	case s.facts.NameState == policy.NameVerified && namesClient(helo, s.facts.Name, literal(s.info())):
		return s.facts.Name + " "
	case s.facts.NameState == policy.NameVerified, s.facts.NameState == policy.NameUnverified:
		return "unverified "
	}
	return "RDNS failed "
}

// namesClient reports whether the argument of EHLO is the client's name in DNS or its address.
func namesClient(helo, name, literal string) bool {
	return strings.EqualFold(strings.TrimSuffix(helo, "."), name) || strings.EqualFold(helo, literal)
}

// dataError logs why a message was not accepted, and returns the reply.
func (s *session) dataError(err error) *smtp.Reply {
	if r, ok := errors.AsType[*smtp.Reply](err); ok {
		return r // a decision, already logged
	}
	r := dataReply(err, &s.cfg.Wire)
	level := slog.LevelInfo
	if r.Temporary() && !lostClient(err) {
		level = slog.LevelError
	}
	s.log.Log(context.Background(), level, "message not accepted", "from", s.env.From.String(),
		"to", recipients(s.env.To), "reply", r.Error(), "error", err)
	s.trackRefusal("", policy.Decision{Stage: "message"}, r)
	return r
}

// lostClient reports whether the client has gone, was too slow, or was sent away by an administrator,
// which is no error of the server.
func lostClient(err error) bool {
	_, isNet := errors.AsType[*net.OpError](err)
	return isNet || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, wire.ErrAborted) || errors.Is(err, wire.ErrKilled)
}

func dataReply(err error, cfg *wire.Config) *smtp.Reply {
	switch {
	case errors.Is(err, wire.ErrTooLarge):
		return replyTooLarge(cfg.MaxMessageSize)
	case errors.Is(err, wire.ErrKilled):
		return smtp.NewReply(421, [3]int{4, 3, 2}, "This session was closed by the administrator") // for the log
	case errors.Is(err, wire.ErrSession):
		return smtp.NewReply(452, [3]int{4, 3, 4}, "Too much mail on this connection; open another")
	case errors.Is(err, wire.ErrTextLine):
		return smtp.NewReply(554, [3]int{5, 6, 0}, "A line of the message is longer than %d octets", cfg.MaxTextLine)
	case errors.Is(err, wire.ErrBareEnding):
		return smtp.NewReply(554, [3]int{5, 6, 0}, "The message has a line end that is not CRLF (RFC 5321 section 2.3.8)")
	case errors.Is(err, wire.ErrLoneDot):
		return smtp.NewReply(554, [3]int{5, 6, 0}, "The message did not end: a line with a dot must come between CRLF and CRLF (RFC 5321 section 4.1.1.4)")
	case errors.Is(err, errHeaderTooLong):
		return smtp.NewReply(554, [3]int{5, 6, 0}, "The header of the message is longer than %d octets", maxHeader)
	case errors.Is(err, directory.ErrUnusable):
		return replyUnusable("the sender in the header")
	case errors.Is(err, errHeadroom):
		return smtp.NewReply(452, [3]int{4, 3, 1}, "Too many large headers at the same time, try again later")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return smtp.NewReply(452, [3]int{4, 3, 1}, "Insufficient system storage, try again later")
	}
	return smtp.NewReply(451, [3]int{4, 3, 0}, "The message could not be stored, try again later")
}

// refuse logs a refusal that does not come from the rules, and returns it.
func (s *session) refuse(r *smtp.Reply, role string, a addr.Address) *smtp.Reply {
	s.log.Info("refused", role, a.String(), "user", s.account().String(), "reply", r.Error())
	e := s.event(track.Refused)
	e.From, e.Reply = s.env.From.String(), r.Error()
	if role == "to" {
		e.To = a.String()
	} else {
		e.From = a.String()
	}
	s.srv.Track.Add(e)
	return r
}

// Reset ends the transaction.
func (s *session) Reset() {
	s.transaction = transaction{}
	s.facts.Transaction = policy.Transaction{}
}

// Logout ends the session.
func (s *session) Logout() {
	e := s.event(track.Disconnected)
	e.Count = s.count
	s.srv.Track.Add(e)
	if s.user.Dir != "" {
		s.srv.Accounts.Leave(s.user.Dir)
		s.user = auth.Principal{}
	}
}

// AuthMechanisms returns the mechanisms that EHLO offers. There are none if the rules forbid a
// password on this connection.
func (s *session) AuthMechanisms() []string {
	if s.cfg.Rules.LogIn(s.current()).Verdict == policy.Refuse {
		return nil
	}
	return s.srv.Auth.Offers(s.client())
}

// client is what the authenticator knows of the connection.
func (s *session) client() auth.Client {
	return auth.Client{Service: auth.ServiceSMTP, Remote: s.remote.Addr(), TLS: s.conn.TLS()}
}

// Auth begins an AUTH exchange (RFC 4954).
func (s *session) Auth(mechanism string) (sasl.Server, *smtp.Reply) {
	if d := s.cfg.Rules.LogIn(s.current()); d.Verdict == policy.Refuse {
		return nil, d.Reply
	}
	exchange, err := s.srv.Auth.Begin(context.Background(), s.client(), mechanism)
	if err != nil {
		return nil, smtp.NewReply(504, [3]int{5, 5, 4}, "Mechanism not offered here; use %s", strings.Join(s.AuthMechanisms(), " or "))
	}
	advice := ""
	if len(auth.Needs(mechanism)) > 0 && slices.Contains(s.srv.Auth.Offers(s.client()), auth.PLAIN) {
		advice = ", or this mailbox is not set up for " + mechanism + "; choose normal password (PLAIN or LOGIN) in the mail program"
	}
	return &saslServer{exchange, s.enter, advice}, nil
}

// errTooManySessions reports that an account has as many sessions as it may.
var errTooManySessions = errors.New("too many sessions of this account")

// enter makes the session that of a user who has logged in.
func (s *session) enter(p auth.Principal) error {
	if !s.srv.Accounts.Enter(p.Dir) {
		return fmt.Errorf("%s: %w", p.Address, errTooManySessions)
	}
	if c, ok := s.conn.Conn.(interface{ LoggedIn() }); ok {
		c.LoggedIn() // connlimit then counts it among the trusted
	}
	s.user = p
	s.conn.Live().SetUser(p.Address.String())
	s.facts.User = policy.User{Address: p.Address}
	return nil
}

// saslServer turns the errors of an exchange into replies, and logs the user in at its end.
type saslServer struct {
	*auth.Exchange
	enter  func(auth.Principal) error
	advice string // what the user can do beside checking name and password; "" means nothing
}

func (s *saslServer) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := s.Exchange.Next(response)
	if done && err == nil {
		err = s.enter(s.Principal)
	}
	if err != nil {
		reply := authReply(err)
		if errors.Is(err, auth.ErrInvalid) && s.advice != "" {
			reply.Text = "User name or password is wrong" + s.advice
		}
		err = reply
	}
	return challenge, done, err
}

// noSMTPAccess is the reply's text for a mailbox that may not use SMTP.
const noSMTPAccess = "This mailbox may not send mail by SMTP; ask your administrator"

func authReply(err error) *smtp.Reply {
	switch {
	case errors.Is(err, auth.ErrMalformed):
		return smtp.NewReply(501, [3]int{5, 5, 2}, "Malformed response")
	case errors.Is(err, auth.ErrExpired):
		return smtp.NewReply(535, [3]int{5, 7, 8}, "The password has expired; ask your administrator for another one")
	case errors.Is(err, auth.ErrLocked):
		return smtp.NewReply(535, [3]int{5, 7, 13}, "This mailbox is locked; ask your administrator")
	case errors.Is(err, auth.ErrAccess):
		return smtp.NewReply(535, [3]int{5, 7, 13}, noSMTPAccess)
	case errors.Is(err, auth.ErrTemporary):
		return smtp.NewReply(454, [3]int{4, 7, 0}, "Temporary authentication failure, try again later")
	case errors.Is(err, errTooManySessions):
		return smtp.NewReply(454, [3]int{4, 7, 0}, "Too many sessions of this account, try again later")
	}
	return smtp.NewReply(535, [3]int{5, 7, 8}, "Authentication credentials invalid")
}
