package daemon

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/verify"
)

const (
	// fetchedField marks what was collected, so that a message that is forwarded to where it was collected from is not
	// carried round and round. Delivered-To will not do: the provider may write that for the very address.
	fetchedField = "X-Pillarbox-Fetched"

	maxFetchedHeader = 256 << 10
	maxFetchedHops   = 50 // Received fields; mail that is collected has gone some way
)

// fetched delivers what is collected for one entry.
type fetched struct {
	entry    *config.Fetch
	host     string // that it is collected from
	hostname string // ours
	inject   func(env *smtp.Envelope, source queue.Source, from string, message io.Reader) (id string, err error)
	keep     func(id string, m badmail.Message) error
	log      *slog.Logger
}

// deliver is for collect.Options.
func (l *fetched) deliver(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := readFetched(in, l.mark())
	if err != nil {
		return err
	}
	message := io.MultiReader(bytes.NewReader(verify.Strip(head.octets, l.hostname)), in)
	if head.looped || head.hops > maxFetchedHops {
		return l.keepAside(message, head)
	}
	env := &smtp.Envelope{From: head.returnPath, To: []smtp.Recipient{{Address: l.entry.DeliverTo}}, Body8: true}
	env.UTF8 = !env.From.IsASCII() || !l.entry.DeliverTo.IsASCII()
	marked := io.MultiReader(strings.NewReader(fetchedField+": "+l.mark()+"\r\n"), message)
	from := fmt.Sprintf("from %s (POP3 mailbox %s)", l.host, commentText(l.entry.User))
	_, err = l.inject(env, queue.Source{Service: "fetch", Helo: l.host}, from, marked)
	return err
}

// mark tells one way of a message from all others.
func (l *fetched) mark() string {
	return l.entry.DeliverTo.Fold().String() + " by " + l.hostname
}

// commentText is fit for a comment in a header.
func commentText(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()\<>`, r) {
			return '?'
		}
		return r
	}, s)
}

// fetchedHead is the header of a message that was collected.
type fetchedHead struct {
	octets     []byte       // as it came, without Return-Path; long ones in part
	returnPath addr.Address // zero where there is none that is valid
	hops       int
	looped     bool // it has our mark
}

// readFetched reads a header as far as it is one.
func readFetched(in *bufio.Reader, mark string) (h fetchedHead, err error) {
	var field []byte
	seen := false
	for len(h.octets)+len(field) < maxFetchedHeader {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return h, err
		}
		if folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t'); folded && len(field) > 0 {
			field = append(field, line...)
			continue
		}
		h.take(field, mark, &seen)
		field = append(field[:0], line...)
		if name, _, ok := bytes.Cut(line, []byte(":")); err != nil || !ok || bytes.ContainsAny(name, " \t\r\n") {
			break
		}
	}
	h.octets = append(h.octets, field...)
	return h, nil
}

// take notes a complete field. Of Return-Path only the first counts: it is that of the last server.
func (h *fetchedHead) take(field []byte, mark string, seen *bool) {
	name, value, _ := bytes.Cut(field, []byte(":"))
	switch text := strings.TrimSpace(string(value)); strings.ToLower(string(name)) {
	case "return-path":
		if a, err := addr.Parse(strings.Trim(text, "<> \t")); err == nil && !*seen {
			h.returnPath = a
		}
		*seen = true
		return
	case "received":
		h.hops++
	case strings.ToLower(fetchedField):
		h.looped = h.looped || text == mark
	}
	h.octets = append(h.octets, field...)
}

// keepAside puts a message that goes in a circle where an administrator finds it.
func (l *fetched) keepAside(message io.Reader, head fetchedHead) error {
	reason := fmt.Sprintf("it went through %d servers", head.hops)
	if head.looped {
		reason = fmt.Sprintf("it was collected for %s before, and came back to the mailbox %s at %s: a forwarding leads there", l.entry.DeliverTo, l.entry.User, l.host)
	}
	id := "fetch-" + time.Now().UTC().Format("20060102150405") + "-" + rand.Text()[:8]
	err := l.keep(id, badmail.Message{
		Original: func() (io.ReadCloser, error) { return io.NopCloser(message), nil },
		Reason:   "This message goes in a circle: " + reason + ".\n",
	})
	if err == nil {
		l.log.Warn("fetch: a message goes in a circle, and is kept in badmail", "fetch", l.entry.Name, "id", id, "reason", reason)
	}
	return err
}
