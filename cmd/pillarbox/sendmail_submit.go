package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore/addr"
)

const (
	sendmailCommand = 5 * time.Minute // timeout of a command and its reply (RFC 5321 §4.5.3.2)
	sendmailData    = 10 * time.Minute
)

// talk is an SMTP session with the server.
type talk struct {
	net.Conn
	text  *textproto.Conn
	knows map[string]bool
	say   func(reply string)
}

// submit sends a message to the server. For recipients that the server cannot accept now, it leaves
// the message in the pickup folder.
func (a *app) submit(c *sendmailCall, h sendmailHost, m *mailing) error {
	conn, err := net.DialTimeout("unix", h.socket, 10*time.Second)
	if err != nil {
		return a.leave(c, h, m, m.to, notRunning(h, err))
	}
	defer conn.Close()
	t := &talk{Conn: conn, text: textproto.NewConn(conn), say: func(string) {}}
	if c.verbose {
		t.say = func(reply string) { fmt.Fprintln(a.stdout, reply) }
	}
	waiting, refused, err := t.deliver(c, h, m)
	switch {
	case err != nil && exitOf(err) == exitTryAgain:
		return a.leave(c, h, m, waiting, err)
	case err != nil:
		return err
	case len(waiting) > 0:
		err := exitf(exitTryAgain, "", "sendmail: the server does not accept mail for %s now", joined(waiting))
		return errors.Join(refused, a.leave(c, h, m, waiting, err))
	}
	return refused
}

func joined(all []addr.Address) string {
	var texts []string
	for _, one := range all {
		texts = append(texts, strings.Trim(path(one), "<>"))
	}
	return strings.Join(texts, ", ")
}

func exitOf(err error) int {
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	return exitSoftware
}

// deliver runs the session. waiting are the recipients to try later. refused is the first error of
// a recipient that the server refused for good, even if it accepted the message for others.
func (t *talk) deliver(c *sendmailCall, h sendmailHost, m *mailing) (waiting []addr.Address, refused, err error) {
	if err := t.greet(h); err != nil {
		return m.to, nil, err
	}
	if err := t.command("MAIL FROM:" + path(m.from) + t.mailParameters(c, m)); err != nil {
		return m.to, nil, err
	}
	accepted := 0
	notify := ""
	if c.notify != "" && t.knows["DSN"] {
		notify = " NOTIFY=" + c.notify
	}
	for _, to := range m.to {
		switch err := t.command("RCPT TO:" + path(to) + notify); {
		case err == nil:
			accepted++
		case exitOf(err) == exitTryAgain:
			waiting = append(waiting, to)
		case refused == nil:
			refused = err
		}
	}
	if accepted == 0 {
		if len(waiting) > 0 {
			return waiting, refused, nil
		}
		return nil, nil, refused
	}
	if err := t.data(m); err != nil {
		return m.to, nil, err
	}
	t.command("QUIT")
	return waiting, refused, nil
}

func (t *talk) greet(h sendmailHost) error {
	t.SetDeadline(time.Now().Add(sendmailCommand))
	if _, err := t.reply(); err != nil {
		return err
	}
	if err := t.text.PrintfLine("EHLO %s", h.name); err != nil {
		return broken(err)
	}
	lines, err := t.reply()
	t.knows = map[string]bool{}
	for line := range strings.SplitSeq(lines, "\n") {
		word, _, _ := strings.Cut(line, " ")
		t.knows[strings.ToUpper(word)] = true
	}
	return err
}

func (t *talk) mailParameters(c *sendmailCall, m *mailing) string {
	var p strings.Builder
	if t.knows["SIZE"] {
		p.WriteString(" SIZE=" + strconv.FormatInt(m.size, 10))
	}
	if t.knows["8BITMIME"] && m.eight {
		p.WriteString(" BODY=8BITMIME")
	}
	if t.knows["SMTPUTF8"] && (!m.from.IsASCII() || slices.ContainsFunc(m.to, func(to addr.Address) bool { return !to.IsASCII() })) {
		p.WriteString(" SMTPUTF8")
	}
	if t.knows["DSN"] && c.ret != "" {
		p.WriteString(" RET=" + c.ret)
	}
	if t.knows["DSN"] && c.envID != "" {
		p.WriteString(" ENVID=" + xtext(c.envID))
	}
	return p.String()
}

// xtext encodes a value as xtext (RFC 3461 §4).
func xtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (t *talk) command(line string) error {
	t.SetDeadline(time.Now().Add(sendmailCommand))
	if strings.ContainsAny(line, "\r\n") {
		return exitf(exitUsage, "", "sendmail: a line end in an address or an option")
	}
	if err := t.text.PrintfLine("%s", line); err != nil {
		return broken(err)
	}
	_, err := t.reply()
	return err
}

// data sends the text of the message.
func (t *talk) data(m *mailing) error {
	if _, err := m.content.Seek(0, io.SeekStart); err != nil {
		return exitf(exitSoftware, "", "sendmail: %v", err)
	}
	t.SetDeadline(time.Now().Add(sendmailCommand))
	if err := t.text.PrintfLine("DATA"); err != nil {
		return broken(err)
	}
	if _, err := t.reply(); err != nil {
		return err
	}
	t.SetDeadline(time.Now().Add(sendmailData))
	w := t.text.DotWriter()
	if _, err := io.Copy(w, bufio.NewReader(m.content)); err != nil {
		return broken(err)
	}
	if err := w.Close(); err != nil {
		return broken(err)
	}
	_, err := t.reply()
	return err
}

// reply reads a reply. A 4xx or 5xx reply is an error with an exit code.
func (t *talk) reply() (string, error) {
	code, text, err := t.text.ReadResponse(0)
	if err != nil {
		return "", broken(err)
	}
	t.say(fmt.Sprintf("%d %s", code, text))
	if code < 400 {
		return text, nil
	}
	return text, exitf(exitCode(code, text), "", "sendmail: the server says: %d %s", code, strings.ReplaceAll(text, "\n", " "))
}

func broken(err error) error {
	return exitf(exitTryAgain, "", "sendmail: the connection to the server broke: %v", err)
}

// exitCode returns the exit code for a refusal, from its enhanced code (RFC 3463) if it has one.
func exitCode(code int, text string) int {
	switch {
	case code < 500:
		return exitTryAgain
	case strings.HasPrefix(text, "5.1.3"), strings.HasPrefix(text, "5.1.7"), code == 501, code == 553:
		return exitUsage
	case strings.HasPrefix(text, "5.1."):
		return exitNoUser
	case strings.HasPrefix(text, "5.7."), code == 530:
		return exitNoRight
	case strings.HasPrefix(text, "5.6."), code == 554 && strings.HasPrefix(text, "5.5."):
		return exitData
	}
	return exitUnavailable
}

// leave puts a message for the given recipients into the pickup folder. A running server takes it
// from there. If leave fails, it returns cause.
func (a *app) leave(c *sendmailCall, h sendmailHost, m *mailing, to []addr.Address, cause error) error {
	if h.pickup == "" {
		return cause
	}
	name, err := leaveIn(h, m, to)
	if err != nil {
		return cause
	}
	if c.verbose {
		fmt.Fprintf(a.stdout, "the server cannot accept the message now; it will send it from %s\n", name)
	}
	return nil
}

func leaveIn(h sendmailHost, m *mailing, to []addr.Address) (name string, err error) {
	if _, err := m.content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	name = filepath.Join(h.pickup, "sendmail-"+rand.Text()+".eml")
	temp := name + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "X-Sender: %s\r\n", path(m.from))
	for _, one := range to {
		fmt.Fprintf(w, "X-Receiver: %s\r\n", path(one))
	}
	_, err = io.Copy(w, m.content)
	if err = errors.Join(err, w.Flush(), readable(f, h.pickup), f.Sync(), f.Close()); err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(temp))
	}
	if d, err := os.Open(h.pickup); err == nil {
		d.Sync()
		d.Close()
	}
	return name, nil
}

// readable makes the file readable for the owner of the folder, the server. The folder itself keeps
// other users out.
func readable(f *os.File, folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || int(owner.Uid) == os.Geteuid():
		return nil
	case os.Geteuid() == 0:
		return f.Chown(int(owner.Uid), int(owner.Gid))
	}
	return f.Chmod(0o644)
}
