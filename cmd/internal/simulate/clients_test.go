package simulate

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	password         = "correct horse"
	strangersAddress = "203.0.113.7"
)

// client is a client's end of a session.
type client struct {
	*conn
	in   *bufio.Reader
	long []byte // what text reads, kept for the next one: to grow it anew cost a tenth of a history
}

func (w *world) dial(from, address string) (*client, error) {
	c, err := w.network.dial(from, address)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(20 * time.Minute))
	return &client{conn: c, in: bufio.NewReader(c)}, nil
}

// reply reads an SMTP reply; 0 means that the connection is gone.
func (c *client) reply() (code int, text string) {
	for {
		line, err := c.in.ReadString('\n')
		if err != nil || len(line) < 4 {
			return 0, ""
		}
		text += line
		if line[3] == ' ' {
			code, _ = strconv.Atoi(line[:3])
			return code, strings.TrimRight(text, "\r\n")
		}
	}
}

func (c *client) ask(format string, args ...any) (code int, text string) {
	if _, err := fmt.Fprintf(c, format+"\r\n", args...); err != nil {
		return 0, err.Error()
	}
	return c.reply()
}

// text is the message of a step, CRLF at the end of each line.
func (s *Step) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: letter %s\r\nX-Token: %s\r\n", s.From, s.To[0], s.Token, s.Token)
	if s.Rule != "" {
		fmt.Fprintf(&b, "X-Rule: %s\r\n", s.Rule)
	}
	b.WriteString("\r\n")
	b.Grow(s.Size + 100)
	for n := 0; b.Len() < s.Size; n++ {
		b.WriteString([]string{"", "", ".", ".."}[n%4])
		b.WriteString("line ")
		b.WriteString(strconv.Itoa(n))
		b.WriteString(" of ")
		b.WriteString(s.Token)
		b.WriteString(manyX[:1+n%50])
		b.WriteString("\r\n")
	}
	return b.String()
}

var manyX = " " + strings.Repeat("x", 50)

func stuff(text string) string {
	text = strings.ReplaceAll(text, "\r\n.", "\r\n..")
	return text
}

// vouched says whether DNS vouches for a stranger.
func vouched(address string) bool { return strings.HasSuffix(address, "@else.example") }

func isLocal(address string) bool {
	return strings.HasSuffix(address, "@office.example") || strings.HasSuffix(address, "@branch.example")
}

// delivery is a message as the client that sends it knows it.
type sending struct {
	step  *Step
	boxes map[string][]*box // by recipient that was accepted
	names map[*box]string   // of these then
	away  []string
	limit bool // some mailbox may be full

	ruled        bool // rules and archive were set before it began
	still, moves int64
}

// unmoved reports whether all mailboxes are where they were when they were accepted.
func (out *sending) unmoved() bool {
	for b, name := range out.names {
		if b.name != name || b.removed || len(b.others) > 0 {
			return false
		}
	}
	return true
}

// send is one SMTP session with one message.
func (w *world) send(s *Step) {
	local := isLocal(s.From)
	address, from := portMTA, strangersAddress
	if local {
		address, from = portSubmission, "192.168.1.7"
	}
	c, err := w.dial(from, address)
	if err != nil {
		return
	}
	defer c.Close()
	if s.How == "drop" {
		c.breakAfter(s.At)
	}
	w.model.mu.Lock()
	if local && w.model.find(s.From) == nil {
		w.model.mu.Unlock()
		return
	}
	text := s.text()
	w.model.messages[s.Token] = &message{token: s.Token, from: s.From, text: text, local: local, sent: time.Now()}
	w.model.mu.Unlock()
	if code, text := c.reply(); code != 220 {
		w.refusedEarly("greeting", code, text)
		return
	}
	if code, text := c.ask("EHLO client.example"); code != 250 {
		w.refusedEarly("EHLO", code, text)
		return
	}
	if local {
		secret := base64.StdEncoding.EncodeToString([]byte("\x00" + s.From + "\x00" + password))
		if code, text := c.ask("AUTH PLAIN %s", secret); code != 235 {
			w.refusedEarly("AUTH of "+s.From, code, text)
			return
		}
	}
	if code, text := c.ask("MAIL FROM:<%s> ENVID=%s", s.From, s.Token); code != 250 {
		w.refusedEarly("MAIL", code, text)
		return
	}
	still, moves := w.moving.Load() == 0, w.moves.Load()
	out := &sending{step: s, boxes: make(map[string][]*box), names: make(map[*box]string)}
	out.still, out.moves = int64(w.moving.Load()), int64(moves)
	w.model.mu.Lock()
	out.ruled = w.model.vault != nil
	w.model.mu.Unlock()
	for _, to := range slices.Compact(slices.Sorted(slices.Values(s.To))) {
		w.recipient(c, out, to)
	}
	if len(out.boxes)+len(out.away) == 0 {
		c.ask("QUIT")
		return
	}
	if code, _ := c.ask("DATA"); code != 354 {
		return
	}
	w.took(out, flying, "")
	calm := w.calm() && still
	data := stuff(text) + ".\r\n"
	if s.Pause > 0 && s.How != "drop" {
		_, _ = io.WriteString(c, data[:len(data)/2]) // the rest fails too
		data = data[len(data)/2:]
		s.pause()
	}
	if _, err := io.WriteString(c, data); err != nil {
		w.took(out, refused, "its end was never sent")
		return
	}
	if s.How == "gone" {
		w.took(out, maybe, "the client is gone")
		return
	}
	code, text := c.reply()
	switch {
	case code == 0:
		w.took(out, maybe, "no answer")
	case code/100 == 2:
		w.took(out, promised, text)
	default:
		w.took(out, refused, text)
		if calm && w.calm() && moves == w.moves.Load() && out.unmoved() && code/100 == 4 && !out.limit {
			w.fail("message %s was refused, with all in order: %s", s.Token, text)
		}
	}
	c.ask("QUIT")
}

// refusedEarly is a refusal before there is anything to lose.
func (w *world) refusedEarly(where string, code int, text string) {
	w.log("%s: %d %s", where, code, text)
}

// recipient asks for a recipient and notes where mail for it goes.
func (w *world) recipient(c *client, out *sending, to string) {
	if code, text := c.ask("RCPT TO:<%s>", to); code != 250 {
		w.log("RCPT %s: %d %s", to, code, text)
		return
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if !isLocal(to) {
		out.away = append(out.away, to)
		return
	}
	out.boxes[to] = nil
	w.model.meant(out.step.Token, to) // a rename may be done that the model has not seen yet
	for _, b := range w.model.expand(to) {
		out.boxes[to] = append(out.boxes[to], b)
		out.names[b] = b.name
		w.model.meant(out.step.Token, b.name)
		out.limit = out.limit || b.limit
	}
}

// find returns the mailbox of a name, nil if there is none.
func (m *model) find(name string) *box { return m.boxes[name] }

// took notes what became of a message.
func (w *world) took(out *sending, now state, why string) {
	m := w.model
	m.mu.Lock()
	defer m.mu.Unlock()
	s := out.step
	if now != flying {
		w.log("message %s is %v: %s", s.Token, now, why)
	}
	places := 0
	for _, boxes := range out.boxes {
		places += len(boxes)
	}
	for _, boxes := range out.boxes { // it may be new
		out.limit = out.limit || slices.ContainsFunc(boxes, func(b *box) bool {
			other := m.find(out.names[b])
			return b.limit || other != nil && other.limit
		})
	}
	orReport := out.limit && places+len(out.away) > 1
	w.archived(out, now)
	for to, boxes := range out.boxes {
		state := now
		if _, list := m.lists[to]; list && m.unlisted && now != refused {
			for _, b := range m.boxes { // whoever is in the list
				if b == m.vault {
					continue
				}
				if c := b.copies[s.Token]; c == nil || c.state == flying {
					m.answered(b, s.Token, min(now, maybe), false)
				}
				if b.limit && (isLocal(s.From) || vouched(s.From)) {
					for _, name := range b.had { // it may have been renamed since
						m.owe(s.Token, name, "failed", s.From).unsure = true
					}
				}
			}
			continue
		}
		for _, b := range boxes {
			state := state
			if other := m.find(out.names[b]); state == promised && other != nil && other != b {
				state = maybe // the server knows a mailbox by its name then, and that is another one's now
			}
			if s.Rule != "" && b.ruled {
				w.ruled(out, b, now, state, places)
				continue
			}
			m.answered(b, s.Token, state, orReport)
			if orReport && now != flying && now != refused && (isLocal(s.From) || vouched(s.From)) {
				m.owe(s.Token, b.name, "failed", s.From).unsure = true
				m.owe(s.Token, out.names[b], "failed", s.From).unsure = true
			}
		}
	}
	for _, to := range out.away {
		key := awayKey(s.Token, to)
		a := m.away[key]
		if a == nil {
			a = &away{token: s.Token, to: to}
			m.away[key] = a
		}
		if now == refused && a.accepted > 0 {
			m.violation("message %s was sent to %s and then refused", s.Token, to)
		}
		if a.state = now; now == maybe && a.accepted > 0 {
			a.state = promised
		}
	}
}

// command sends a POP3 command and returns whether the answer is positive.
func (c *client) command(format string, args ...any) (ok bool, line string) {
	if _, err := fmt.Fprintf(c, format+"\r\n", args...); err != nil {
		return false, ""
	}
	return c.status()
}

func (c *client) status() (ok bool, line string) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return false, ""
	}
	return strings.HasPrefix(line, "+OK"), strings.TrimRight(line, "\r\n")
}

// lines reads what follows, up to the lone dot.
func (c *client) lines() (all []string, whole bool) {
	text, whole := c.text()
	for line := range strings.Lines(text) {
		all = append(all, line)
	}
	return all, whole
}

// text is lines in one piece.
func (c *client) text() (text string, whole bool) {
	c.long = c.long[:0]
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return string(c.long), false
		}
		if string(line) == ".\r\n" {
			return string(c.long), true
		}
		c.long = append(c.long, bytes.TrimPrefix(line, []byte("."))...)
	}
}

// fetch is one POP3 session: all of it is read, and some is deleted. quiet says that nothing else happens meanwhile and
// that the disk is sound. It reports whether the session got as far as a listing.
func (w *world) fetch(s *Step, quiet bool) (seen bool) {
	w.model.mu.Lock()
	b := w.model.find(s.Box)
	var before snapshot
	if b != nil {
		before = w.model.snapshot(b)
	}
	w.model.mu.Unlock()
	if b == nil {
		return false // to find out that nobody has the password costs more than all the rest
	}
	c, err := w.dial("192.168.1.8", portPOP3)
	if err != nil {
		return false
	}
	defer c.Close()
	if s.How == "drop" {
		c.breakAfter(s.At)
	}
	if ok, _ := c.status(); !ok {
		return false
	}
	c.command("USER %s", s.Box)
	if ok, line := c.command("PASS %s", password); !ok {
		w.log("PASS of %s: %s", s.Box, line)
		return false
	}
	found, sizes, ok := w.listing(c)
	if !ok {
		return false
	}
	if !w.read(c, b, found, sizes, quiet) {
		return false
	}
	w.model.mu.Lock()
	w.model.shown(b, before, found, quiet)
	w.model.mu.Unlock()
	w.quit(c, s, b, found)
	return true
}

// listing asks for unique-ids and sizes.
func (w *world) listing(c *client) (found []listed, sizes []int, ok bool) {
	if ok, _ := c.command("UIDL"); !ok {
		return nil, nil, false
	}
	uids, whole := c.lines()
	if !whole {
		return nil, nil, false
	}
	if ok, _ := c.command("LIST"); !ok {
		return nil, nil, false
	}
	list, whole := c.lines()
	if !whole {
		return nil, nil, false
	}
	if len(list) != len(uids) {
		w.fail("UIDL has %d messages and LIST has %d", len(uids), len(list))
		return nil, nil, false
	}
	for i := range uids {
		f, g := strings.Fields(uids[i]), strings.Fields(list[i])
		size, _ := strconv.Atoi(g[1])
		found = append(found, listed{uid: f[1]})
		sizes = append(sizes, size)
	}
	return found, sizes, true
}

// read fetches each message. Where one cannot be read, found has no name for it.
func (w *world) read(c *client, b *box, found []listed, sizes []int, quiet bool) bool {
	for i := range found {
		before := w.nameOf(found[i].uid)
		ok, line := c.command("RETR %d", i+1)
		if line == "" {
			return false
		}
		if !ok {
			if quiet {
				w.fail("message %s (uid %s) in %s cannot be read: %s", before, found[i].uid, b.name, line)
			}
			found[i].token = before
			continue
		}
		text, whole := c.text()
		if !whole {
			return false
		}
		if found[i].token = w.identify(b, found[i].uid, text); found[i].token == "" {
			found[i].token = before
			continue
		}
		if len(text) != sizes[i] {
			w.fail("message %s in %s: LIST says %d octets, RETR gave %d", found[i].uid, b.name, sizes[i], len(text))
		}
	}
	return true
}

// nameOf is the message that a unique-id stood for before.
func (w *world) nameOf(uid string) string {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if token, known := w.model.uids[uid]; known {
		return token
	}
	return ""
}

var (
	actionForm = regexp.MustCompile(`(?m)^Action: (\S+)\r?$`)
	finalForm  = regexp.MustCompile(`(?m)^(?:Final-Recipient|Original-Recipient): *(?i:rfc822); *(\S+?)\r?$`)
)

var originalForm = regexp.MustCompile(`(?m)^Original-Envelope-Id: (\S+?)\r?$`)

// envelope is the message that a report is about. A report says so itself: where the message could not be read, its header
// is not in the report.
func envelope(text, token string) string {
	if id := originalForm.FindStringSubmatch(text); id != nil && token == unknown {
		return id[1]
	}
	return token
}

// identify says which message a text is; "" if it is damaged.
func (w *world) identify(b *box, uid, text string) string {
	m := w.model
	m.mu.Lock()
	defer m.mu.Unlock()
	token, whole := m.recognise(text)
	if !strings.Contains(text, "\r\nAction: ") {
		// No report, and no need to look closer.
	} else if action := actionForm.FindStringSubmatch(text); action != nil {
		name, token := "", envelope(text, token)
		for _, final := range finalForm.FindAllStringSubmatch(text, -1) {
			name = m.reported(b, uid, token, final[1], action[1])
		}
		return name
	}
	if !whole {
		m.violation("message %s (uid %s) in %s is damaged: %d octets, %.100q", cmp.Or(m.uids[uid], token), uid, b.name, len(text), text)
		return ""
	}
	return token
}

// quit deletes some and ends the session.
func (w *world) quit(c *client, s *Step, b *box, found []listed) {
	var gone []string
	for i := 0; i < len(found) && len(gone) < s.Count; i++ {
		if found[i].token == "" {
			continue // what could not be read is not deleted
		}
		if ok, _ := c.command("DELE %d", i+1); ok {
			gone = append(gone, found[i].token)
		}
	}
	s.pause()
	if s.How == "gone" {
		return // RFC 1939: without QUIT nothing is deleted
	}
	w.model.mu.Lock()
	name := b.name // another actor may rename it
	w.model.fetched(b, gone, leaving)
	w.model.mu.Unlock()
	if _, err := io.WriteString(c, "QUIT\r\n"); err != nil || s.How == "last" {
		if len(gone) > 0 {
			w.log("%v in %s are perhaps deleted", gone, name)
		}
		return
	}
	ok, line := c.status()
	if len(gone) > 0 {
		w.log("deleting %v in %s: %q", gone, name, line)
	}
	if ok {
		w.model.mu.Lock()
		w.model.fetched(b, gone, deleted)
		w.model.mu.Unlock()
	}
}
