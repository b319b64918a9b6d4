package fetch

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/mailtext"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/verify"
)

const (
	// markField marks collected messages, so that a message that is forwarded to the mailbox it
	// was collected from does not loop. Delivered-To cannot serve: the provider may add it with
	// the same address.
	markField = "X-Pillarbox-Fetched"

	maxHeader = 256 << 10 // octets
)

// mailbox delivers the messages that are collected for one entry.
type mailbox struct {
	*Parts
	cfg      *config.Fetch
	host     string // the server of the mailbox
	hostname string // ours
	maxHops  int    // Received fields; 0 means no limit
}

// deliver is collect.Options.Deliver.
func (b *mailbox) deliver(r io.Reader) error {
	in := bufio.NewReaderSize(mailtext.WithoutSeparator(r), 64<<10)
	head, err := readHeader(in, b.mark())
	if err != nil {
		return err
	}
	message := io.MultiReader(bytes.NewReader(verify.Strip(head.octets, b.hostname)), in)
	if head.looped || b.maxHops > 0 && head.hops > b.maxHops {
		return b.keepLooped(message, head)
	}
	env := &smtp.Envelope{
		From: head.returnPath, To: []smtp.Recipient{{Address: b.cfg.DeliverTo}}, Body8: true,
	}
	env.UTF8 = !env.From.IsASCII() || !b.cfg.DeliverTo.IsASCII()
	marked := io.MultiReader(strings.NewReader(markField+": "+b.mark()+"\r\n"), message)
	from := fmt.Sprintf("from %s (POP3 mailbox %s)", b.host, commentText(b.cfg.User))
	_, err = b.Inject(env, queue.Source{Service: "fetch", Helo: b.host}, from, marked)
	return err
}

// mark returns the value of markField. It names the recipient and this server: the same message may
// be collected for several recipients.
func (b *mailbox) mark() string {
	return b.cfg.DeliverTo.Fold().String() + " by " + b.hostname
}

// commentText replaces the characters that a comment in a header cannot have.
func commentText(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()\<>`, r) {
			return '?'
		}
		return r
	}, s)
}

// header is the header of a collected message.
type header struct {
	octets     []byte       // as received, without Return-Path; at most about maxHeader
	returnPath addr.Address // zero: none, or not valid
	hops       int
	looped     bool // it has our mark
}

// readHeader reads a header, up to the first line that is no field.
func readHeader(in *bufio.Reader, mark string) (h header, err error) {
	var field []byte
	seen := false
	for len(h.octets)+len(field) < maxHeader {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return h, err
		}
		folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		if folded && len(field) > 0 {
			field = append(field, line...)
			continue
		}
		h.take(field, mark, &seen)
		field = append(field[:0], line...)
		name, _, ok := bytes.Cut(line, []byte(":"))
		if err != nil || !ok || bytes.ContainsAny(name, " \t\r\n") {
			break
		}
	}
	h.octets = append(h.octets, field...)
	return h, nil
}

// take adds a complete field. Only the first Return-Path counts: the last server added it.
func (h *header) take(field []byte, mark string, seen *bool) {
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
	case strings.ToLower(markField):
		h.looped = h.looped || text == mark
	}
	h.octets = append(h.octets, field...)
}

// keepLooped puts a message that loops into badmail, where an administrator finds it.
func (b *mailbox) keepLooped(message io.Reader, head header) error {
	reason := fmt.Sprintf("it went through %d servers", head.hops)
	if head.looped {
		reason = fmt.Sprintf("it was collected for %s before, and was forwarded back to the mailbox "+
			"%s at %s", b.cfg.DeliverTo, b.cfg.User, b.host)
	}
	id := "fetch-" + time.Now().UTC().Format("20060102150405") + "-" + rand.Text()[:8]
	err := b.Keep(id, badmail.Message{
		Original: func() (io.ReadCloser, error) { return io.NopCloser(message), nil },
		Reason:   "This message loops: " + reason + ".\n",
	})
	if err == nil {
		b.Log.Warn("fetch: a message that loops was kept in badmail",
			"fetch", b.cfg.Name, "message_id", id, "reason", reason)
	}
	return err
}
