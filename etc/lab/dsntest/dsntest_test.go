package dsntest

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
)

// foreign is a report of another server.
const foreign = `Message-ID: <x@y>
Content-Type: Multipart/Report; report-type="delivery-status"; boundary=B

preamble
--B

Sorry.
--B
content-type: MESSAGE/delivery-status

reporting-mta:dns;mx.y
X-Other: value

FINAL-RECIPIENT:RFC822;bob@y
Action:FAILED
Status:5.1.1 (bad)
Diagnostic-Code:smtp;550
	no such user
X-Queue: 7

--B
Content-Type: text/rfc822-headers

Message-Id: <o@z>
--B--
`

// TestParseForeign: a report of another server, with bare line feeds, unknown fields and comments.
func TestParseForeign(t *testing.T) {
	p, err := Parse(strings.NewReader(foreign))
	if err != nil {
		t.Fatal(err)
	}
	want := Recipient{FinalType: "rfc822", Final: "bob@y", Action: "failed", Status: [3]int{5, 1, 1}, Diagnostic: "550 no such user"}
	if len(p.Recipients) != 1 || p.Recipients[0] != want || p.ReportingMTA != "mx.y" || p.Text != "Sorry." || p.Returned != "text/rfc822-headers" || p.OriginalID != "<o@z>" {
		t.Errorf("%+v", p)
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{"", "x", "Subject: x\r\n\r\n", "Content-Type: multipart/report\r\n\r\n", "Content-Type: multipart/report; boundary=B\r\n\r\n--B\r\n\r\nx\r\n--B--\r\n"} {
		if _, err := Parse(strings.NewReader(text)); !errors.Is(err, ErrNotReport) {
			t.Errorf("%q: %v", text, err)
		}
	}
	broken := errors.New("broken disk")
	if _, err := Parse(io.MultiReader(strings.NewReader(foreign[:300]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(foreign)
	f.Add("Content-Type: multipart/report; boundary=B\r\n\r\n--B\r\nContent-Type: message/delivery-status\r\n\r\n x\r\n\r\n: \r\nStatus: 9999.-1.x\r\n--B--")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(strings.NewReader(text))
		if err != nil && !errors.Is(err, ErrNotReport) {
			t.Fatalf("error of no class %v", err)
		}
		for _, s := range []string{p.MessageID, p.EnvID, p.ReportingMTA, p.OriginalID} {
			if !addr.IsText(s) {
				t.Fatalf("%q is no text", s)
			}
		}
		for _, rcpt := range p.Recipients {
			if !addr.IsText(rcpt.ORcptType+rcpt.ORcpt+rcpt.FinalType+rcpt.Final+rcpt.Action+rcpt.RemoteMTA+rcpt.Diagnostic) || len(rcpt.Diagnostic) > maxField {
				t.Fatalf("%+v is no text", rcpt)
			}
		}
	})
}

func TestLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		Parse(strings.NewReader(text))
	}, append(mailtest.Messages(), mailtest.Headers("Content-Type", "Message-Id", "Subject")...)...)
}

func TestValuesLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		oneLine(text, maxID)
		readDate(text)
		status := "A: b\n\n" + strings.ReplaceAll(text, ",", "\nA: ")
		new(Report).readStatus(bufio.NewReader(strings.NewReader(status)))
	}, mailtest.Values()...)
}
