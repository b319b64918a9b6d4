package server

import (
	"strings"
	"testing"

	"pillarbox/smtp"
)

// At the default level the log has each message with its Message-ID, by which it can be found.
func TestLoggedMessage(t *testing.T) {
	o := newOffice(t, smtp.MTA, nil)
	o.mailbox(t, "anna", "")
	o.converse(t, "EHLO pc\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<anna@office.example>\r\nDATA\r\n"+
		"Subject: x\r\nMessage-ID:\r\n <004C984C@pc.example>\r\n\r\nHello\r\n.\r\nQUIT\r\n")
	text := o.log.Take()
	for _, want := range []string{
		"level=INFO msg=\"message stored\" ", "header_message_id=<004C984C@pc.example>",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// A client can write anything into Message-ID.
func TestLoggedID(t *testing.T) {
	for value, want := range map[string]string{
		" <a@b>\r\n": "<a@b>", " <a\r\n\t@b>  \r\n": "<a @b>", "\r\n": "", " \xff<a@b>\r\n": "?<a@b>",
		strings.Repeat("x", 1000): strings.Repeat("x", 250),
	} {
		h := header{id: []byte(value)}
		if got := h.loggedID(); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}
