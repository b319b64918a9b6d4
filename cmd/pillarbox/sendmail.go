package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/mailtext"
	"pillarbox/smtp/pickup"
)

// The exit codes of sendmail, from <sysexits.h>.
const (
	exitUsage       = 64
	exitData        = 65 // the input is not a message
	exitNoUser      = 67 // a recipient does not exist
	exitUnavailable = 69
	exitSoftware    = 70
	exitCannotWrite = 73
	exitTryAgain    = 75
	exitNoRight     = 77
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

func exitf(code int, hint, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if hint != "" {
		err = admin.Hint(err, "%s", hint)
	}
	return exitError{code, err}
}

// calledAs makes a call of the program through a link named sendmail or newaliases one of the command sendmail.
func calledAs(args []string) []string {
	switch {
	case len(args) == 0:
	case filepath.Base(args[0]) == "sendmail":
		return append([]string{"sendmail"}, args[1:]...)
	case filepath.Base(args[0]) == "newaliases":
		return []string{"sendmail", "-bi"}
	}
	return args[min(1, len(args)):]
}

func (a *app) sendmailCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "sendmail [-t] [-i] [-f SENDER] [-F NAME] [-bs] [--] [RECIPIENT...]",
		Short:                 "Send the message on standard input, as /usr/sbin/sendmail does",
		DisableFlagsInUseLine: true,
		DisableFlagParsing:    true, // parseSendmail parses the options of sendmail
		Long: `Send the message on standard input, as /usr/sbin/sendmail does, for cron and other
programs without SMTP. If you call this program by a link named sendmail, it runs this
command.

  -t             send to the addresses in To, Cc and Bcc too
  -i, -oi        do not end the message at a line with a single dot
  -f, -r SENDER  the envelope sender (default: the user of the machine)
  -F NAME        the full name in an added From field
  -bs            speak SMTP on standard input and output
  -v             print the server's replies
  -N, -R, -V     request delivery reports (RFC 3461): NOTIFY, RET, ENVID

Other options of sendmail are accepted and ignored. Missing Date, Message-ID, From
and To fields are added. The command connects to the server's socket, local.socket.
If no server runs, it puts the message into the pickup folder. The exit code is one
of <sysexits.h>: 0, 64 usage, 65 bad message, 67 no such recipient, 69 refused, 75
try again later, 77 not permitted.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			call, err := parseSendmail(args)
			switch {
			case err != nil:
				return err
			case call.help:
				return cmd.Help()
			case call.config != "":
				a.config = call.config
			}
			return a.sendmail(call)
		},
	}
}

// sendmailCall is a command line of sendmail.
type sendmailCall struct {
	config     string
	help       bool
	smtp       bool // -bs
	idle       bool // -q and -bi: the server retries queued mail, and reads aliases, by itself
	fromHeader bool // -t
	keepDots   bool // -i
	verbose    bool
	eightBit   bool
	sender     *string // nil: not given
	fullName   string
	notify     string
	ret        string
	envID      string
	recipients []string
}

// Options that take a value: sendmailValues in the same word or the next, sendmailAttached only in
// the same word.
const (
	sendmailValues   = "fFrBCNORVLhpXAMDo"
	sendmailAttached = "qdb"
)

// parseSendmail parses a command line like getopt, with all options of sendmail.
func parseSendmail(args []string) (*sendmailCall, error) {
	c := &sendmailCall{}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--":
			c.recipients = append(c.recipients, args...)
			return c, nil
		case word == "--help":
			c.help = true
		case word == "--config" && len(args) > 0:
			c.config, args = args[0], args[1:]
		case strings.HasPrefix(word, "--config="):
			c.config = strings.TrimPrefix(word, "--config=")
		case strings.HasPrefix(word, "--"):
			return nil, sendmailUsage("unknown option %s", word)
		case len(word) < 2 || word[0] != '-':
			c.recipients = append(c.recipients, word)
		default:
			var err error
			if args, err = c.options(word[1:], args); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func sendmailUsage(format string, args ...any) error {
	return exitf(exitUsage, "'pillarbox sendmail --help' shows the options", "sendmail: "+format, args...)
}

// options parses the letters of a word. The value of the last one may be the next word. It returns
// the remaining words.
func (c *sendmailCall) options(letters string, rest []string) ([]string, error) {
	for letters != "" {
		letter := letters[0]
		letters = letters[1:]
		switch {
		case strings.IndexByte(sendmailAttached, letter) >= 0:
			return rest, c.option(letter, letters)
		case strings.IndexByte(sendmailValues, letter) >= 0:
			if letters != "" {
				return rest, c.option(letter, letters)
			}
			if len(rest) == 0 {
				return nil, sendmailUsage("-%c needs a value", letter)
			}
			return rest[1:], c.option(letter, rest[0])
		}
		if err := c.option(letter, ""); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func (c *sendmailCall) option(letter byte, value string) error {
	switch letter {
	case 't':
		c.fromHeader = true
	case 'i':
		c.keepDots = true
	case 'v':
		c.verbose = true
	case 'f', 'r':
		c.sender = &value
	case 'F':
		c.fullName = value
	case 'N':
		c.notify = strings.ToUpper(value)
	case 'R':
		c.ret = strings.ToUpper(value)
	case 'V':
		c.envID = value
	case 'B':
		c.eightBit = strings.EqualFold(value, "8BITMIME")
	case 'o':
		c.keepDots = c.keepDots || value == "i"
	case 'q':
		c.idle = true
	case 'b':
		return c.mode(value)
	case 'C', 'O', 'L', 'h', 'p', 'X', 'A', 'M', 'D', 'd', 'm', 'n', 's', 'U', 'G', 'e', 'c', 'T', 'x', 'J':
	default:
		return sendmailUsage("unknown option -%c", letter)
	}
	return nil
}

func (c *sendmailCall) mode(mode string) error {
	switch mode {
	case "m":
	case "s":
		c.smtp = true
	case "p":
		return exitf(exitUsage, "'pillarbox admin queue list' shows the queue", "sendmail: -bp is not supported")
	case "i":
		c.idle = true
	default:
		return sendmailUsage("unknown mode -b%s", mode)
	}
	return nil
}

// defaultSocket is the default of local.socket, for users who may not read the configuration.
const defaultSocket = "/run/pillarbox/submit.sock"

// sendmailHost is the part of the server's configuration that sendmail needs.
type sendmailHost struct {
	socket string
	pickup string      // the pickup folder; "" if it is unknown or not in use
	domain addr.Domain // for names without a domain; "" if it is unknown
	name   string      // for Message-ID
}

// sendmailHost returns the settings of the server. If the user may not read the configuration, it
// returns the defaults.
func (a *app) sendmailHost() (sendmailHost, error) {
	h := sendmailHost{socket: defaultSocket, name: "localhost"}
	if name, err := os.Hostname(); err == nil && addr.IsText(name) && !strings.ContainsAny(name, " <>@") {
		h.name = name
	}
	cfg, err := a.load()
	switch {
	case err == nil:
		h.socket, h.name, h.domain = cfg.Local.Socket, string(cfg.Hostname), cfg.DefaultDomain
		if h.domain == "" {
			h.domain = cfg.Hostname
		}
		if cfg.Pickup.Enabled {
			h.pickup = cfg.Pickup.Dir
		}
		if !cfg.Local.Enabled {
			return h, exitf(exitUnavailable, "local.enabled in the configuration permits it", "sendmail: the server accepts no mail from programs on this machine")
		}
	case a.config != config.DefaultPath:
		return h, exitError{exitTryAgain, err}
	}
	return h, nil
}

func (a *app) sendmail(c *sendmailCall) error {
	if c.idle && len(c.recipients) == 0 && !c.fromHeader && !c.smtp {
		return nil
	}
	h, err := a.sendmailHost()
	if err != nil {
		return err
	}
	if c.smtp {
		return a.relaySMTP(h)
	}
	var in io.Reader = a.stdin
	if !c.keepDots {
		in = &dotEnded{r: a.stdin, start: true}
	}
	letter, err := pickup.ReadInput(in)
	if err != nil {
		return inputError(err)
	}
	m, err := c.compose(letter, h)
	if err != nil {
		return err
	}
	defer m.close()
	return a.submit(c, h, m)
}

func inputError(err error) error {
	if bad, ok := errors.AsType[*pickup.BadError](err); ok {
		return exitf(exitData, "", "sendmail: %s", bad.Reason)
	}
	return exitf(exitSoftware, "", "sendmail: the message cannot be read: %v", err)
}

// mailing is a complete message with its envelope.
type mailing struct {
	from    addr.Address // Domain may be empty: the server completes it
	to      []addr.Address
	content *os.File // CRLF text
	size    int64
	eight   bool // it has octets above 127
}

func (m *mailing) close() {
	if m.content != nil {
		m.content.Close()
	}
}

// compose determines sender and recipients, and completes the header.
func (c *sendmailCall) compose(l *pickup.Message, h sendmailHost) (*mailing, error) {
	m := &mailing{}
	var err error
	if m.from, err = c.from(h.domain); err != nil {
		return nil, err
	}
	if m.to, err = c.to(l, h.domain); err != nil {
		return nil, err
	}
	if h.domain != "" {
		l.Qualify(h.domain)
	}
	l.Complete(rand.Text(), h.name, time.Now())
	if !l.Has("from") {
		l.Add("From", c.author(m.from, h.name))
	}
	if !l.Has("to") && !l.Has("cc") {
		to := "undisclosed-recipients:;" // keeps blind-copy recipients secret
		if len(m.to) == 1 && !c.fromHeader {
			to = completed(m.to[0], h.name)
		}
		l.Add("To", to)
	}
	if m.content, err = os.CreateTemp("", "sendmail-"); err != nil {
		return nil, exitf(exitCannotWrite, "", "sendmail: %v", err)
	}
	os.Remove(m.content.Name()) // the file disappears when the process ends
	octets := new(eightBits)
	if m.size, err = io.Copy(io.MultiWriter(m.content, octets), l.Reader()); err != nil {
		m.close()
		if _, ok := errors.AsType[*os.PathError](err); ok {
			return nil, exitf(exitCannotWrite, "", "sendmail: %v", err)
		}
		return nil, inputError(err)
	}
	m.eight = bool(*octets) || c.eightBit
	return m, nil
}

// eightBits is a writer that becomes true when it gets an octet above 127.
type eightBits bool

func (e *eightBits) Write(p []byte) (int, error) {
	*e = *e || eightBits(bytes.ContainsFunc(p, func(r rune) bool { return r > 127 }))
	return len(p), nil
}

func (c *sendmailCall) from(domain addr.Domain) (addr.Address, error) {
	if c.sender == nil {
		return addr.Address{Local: systemUser(), Domain: domain}, nil
	}
	text := strings.TrimSpace(*c.sender)
	if text == "" || text == "<>" {
		return addr.Address{}, nil
	}
	all, err := parseBare(text, domain)
	if err != nil || len(all) != 1 {
		return addr.Address{}, sendmailUsage("-f %q is not an address", text)
	}
	return all[0], nil
}

// parseBare is pickup.ParseList that also accepts names without a domain, which the server
// completes.
func parseBare(text string, domain addr.Domain) ([]addr.Address, error) {
	const later = addr.Domain("later.invalid")
	fill := domain
	if fill == "" {
		fill = later
	}
	all, err := pickup.ParseList(text, fill)
	for i := range all {
		if all[i].Domain == later {
			all[i].Domain = ""
		}
	}
	return all, err
}

func systemUser() string {
	if u, err := user.Current(); err == nil && addr.IsText(u.Username) {
		name := u.Username[strings.LastIndexByte(u.Username, '\\')+1:]
		return name[:min(len(name), addr.MaxLocal)]
	}
	return fmt.Sprintf("uid%d", os.Getuid())
}

// to returns the recipients of the message, without duplicates.
func (c *sendmailCall) to(l *pickup.Message, domain addr.Domain) (to []addr.Address, err error) {
	for _, word := range c.recipients {
		all, err := parseBare(word, domain)
		if err != nil || len(all) == 0 {
			return nil, sendmailUsage("%q is not an address", word)
		}
		to = append(to, all...)
	}
	if c.fromHeader {
		fill := domain
		if fill == "" {
			fill = "later.invalid"
		}
		more, err := l.Recipients(fill)
		if err != nil {
			return nil, inputError(err)
		}
		for _, one := range more {
			if one.Domain == "later.invalid" {
				one.Domain = ""
			}
			to = append(to, one)
		}
	}
	seen := map[addr.Address]bool{}
	unique := to[:0]
	for _, one := range to {
		if !seen[one.Fold()] {
			unique = append(unique, one)
		}
		seen[one.Fold()] = true
	}
	if len(unique) == 0 && c.fromHeader {
		return nil, exitf(exitUsage, "name one in To, Cc or Bcc", "sendmail: the message has no recipient")
	} else if len(unique) == 0 {
		return nil, sendmailUsage("no recipient given")
	}
	return unique, nil
}

// author returns the value of a missing From field.
func (c *sendmailCall) author(from addr.Address, host string) string {
	address := completed(from, host)
	if from.IsZero() {
		address = "MAILER-DAEMON@" + host
	}
	if c.fullName == "" {
		return address
	}
	name := strings.NewReplacer("\r", " ", "\n", " ").Replace(c.fullName)
	if encoded := mime.QEncoding.Encode("utf-8", name); encoded != name {
		return encoded + " <" + address + ">" // RFC 2047
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + address + ">"
}

func completed(one addr.Address, host string) string {
	if one.Domain == "" {
		one.Domain = addr.Domain(host)
	}
	return one.String()
}

// path returns an address in the form of MAIL and RCPT.
func path(one addr.Address) string {
	if one.IsZero() {
		return "<>"
	}
	if one.Domain == "" {
		return "<" + strings.TrimSuffix(addr.Address{Local: one.Local, Domain: "x"}.String(), "@x") + ">"
	}
	return "<" + one.String() + ">"
}

// relaySMTP connects standard input and output to the server.
func (a *app) relaySMTP(h sendmailHost) error {
	conn, err := net.DialTimeout("unix", h.socket, 10*time.Second)
	if err != nil {
		fmt.Fprint(a.stdout, "421 4.3.0 The mail server is not running\r\n")
		return notRunning(h, err)
	}
	defer conn.Close()
	go func() {
		io.Copy(mailtext.NewWriter(conn), a.stdin) // local programs end lines with LF
		conn.(*net.UnixConn).CloseWrite()
	}()
	var said lastReply
	if _, err := io.Copy(io.MultiWriter(a.stdout, &said), conn); err != nil {
		return exitf(exitTryAgain, "", "sendmail: the connection to the server broke: %v", err)
	}
	if said.waits() {
		return exitf(exitTryAgain, "end the message with a line that is a single dot", "sendmail: the message was truncated and was not sent")
	}
	return nil
}

// lastReply is a writer that keeps the last complete line of the server.
type lastReply struct{ line, last []byte }

// Write implements io.Writer.
func (l *lastReply) Write(p []byte) (int, error) {
	for _, c := range p {
		if l.line = append(l.line, c); c == '\n' {
			l.last, l.line = append(l.last[:0], l.line...), l.line[:0]
		}
	}
	return len(p), nil
}

// waits reports whether the server is waiting for the text of a message.
func (l *lastReply) waits() bool { return bytes.HasPrefix(l.last, []byte("354")) }

func notRunning(h sendmailHost, err error) error {
	hint := "'pillarbox serve' starts it, or its service: systemctl start pillarbox"
	if errors.Is(err, os.ErrPermission) {
		hint = "this user may not use the socket: set local.socket to a path that the user can reach, such as " + defaultSocket
	}
	return exitf(exitTryAgain, hint, "sendmail: the mail server cannot be reached at %s (%v)", h.socket, err)
}

// dotEnded is a reader that ends at a line that is a single dot.
type dotEnded struct {
	r     io.Reader
	start bool   // the next octet begins a line
	held  []byte // the beginning of a line that may be the single dot
	out   []byte
	err   error
}

// Read implements io.Reader.
func (d *dotEnded) Read(p []byte) (int, error) {
	part := make([]byte, 4096)
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		n, err := d.r.Read(part)
		for _, c := range part[:n] {
			if d.take(c) {
				err = io.EOF
				break
			}
		}
		if d.err = err; errors.Is(err, io.EOF) && string(d.held) != "." && string(d.held) != ".\r" {
			d.out = append(d.out, d.held...)
		}
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// take processes an octet, and reports whether it ends the message.
func (d *dotEnded) take(c byte) (end bool) {
	switch held := string(d.held); {
	case d.start && held == "" && c == '.', held == "." && c == '\r':
		d.held = append(d.held, c)
		return false
	case held != "" && c == '\n':
		d.held = nil
		return true
	}
	d.out = append(append(d.out, d.held...), c)
	d.held, d.start = nil, c == '\n'
	return false
}
