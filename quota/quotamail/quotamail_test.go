package quotamail

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"io/fs"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/quota"
)

var update = flag.Bool("update", false, "write the golden files anew")

func facts(kind quota.Kind, domain bool) Facts {
	f := Facts{
		Event: quota.Event{
			Kind: kind, Domain: domain, Resource: quota.Bytes, Asked: 70_000_000,
			Limits: quota.Limits{Bytes: 500_000_000, Messages: 5000, WarnBytes: 450_000_000},
			Used:   quota.Usage{Bytes: 451_234_567, Messages: 1234},
		},
		About:    "anna@office.example",
		To:       addr.Address{Local: "anna", Domain: "office.example"},
		Domain:   "office.example",
		Hostname: "mail.office.example",
		Date:     time.Date(2025, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600)),
		ID:       "P3_20250304050607000100000001",
	}
	if domain {
		f.About = "office.example"
	}
	if domain || kind == quota.Full {
		f.To.Local = "postmaster"
	}
	return f
}

// read returns the message as a mail program shows it.
func read(t *testing.T, text []byte) (h mail.Header, body string) {
	t.Helper()
	if strings.Count(string(text), "\n") != strings.Count(string(text), "\r\n") || !bytes.HasSuffix(text, []byte("\r\n")) {
		t.Errorf("not every line ends in CRLF:\n%q", text)
	}
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r := m.Body
	if m.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		r = quotedprintable.NewReader(r)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return m.Header, string(all)
}

// TestGolden compares each message with testdata/KIND.LANGUAGE.eml.
func TestGolden(t *testing.T) {
	for _, language := range []Language{English, German} {
		texts, err := Load("", language)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []Facts{
			facts(quota.Warning, false), facts(quota.Full, false), facts(quota.Warning, true), facts(quota.Full, true),
		} {
			got, err := texts.Compose(f)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, f.kind()+"."+string(language)+".eml", got)
			checkHeader(t, got, f)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v, got\n%s\nwant\n%s", name, err, got, want)
	}
}

func checkHeader(t *testing.T, text []byte, f Facts) {
	t.Helper()
	h, body := read(t, text)
	from, err := h.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Address != "postmaster@office.example" {
		t.Errorf("From: %v, %v", from, err)
	}
	to, err := h.AddressList("To")
	if err != nil || len(to) != 1 || to[0].Address != f.To.String() {
		t.Errorf("To: %v, %v", to, err)
	}
	if date, err := h.Date(); err != nil || !date.Equal(f.Date) {
		t.Errorf("Date: %v, %v", date, err)
	}
	if h.Get("Auto-Submitted") != "auto-generated" || h.Get("Return-Path") != "<>" || h.Get("Message-Id") != "<"+f.ID+"@mail.office.example>" {
		t.Errorf("header %v", h)
	}
	if !strings.Contains(body, f.About) || !strings.Contains(strings.ReplaceAll(body, ",", "."), "451.2 MB") || strings.Contains(body, "{{") {
		t.Errorf("body %s", body)
	}
	for line := range strings.SplitSeq(string(text), "\r\n") {
		if len(line) > 90 {
			t.Errorf("a long line: %s", line)
		}
	}
}

// The text does not mention limits that are not set.
func TestWithoutLimits(t *testing.T) {
	texts, err := Load("", German)
	if err != nil {
		t.Fatal(err)
	}
	f := facts(quota.Warning, false)
	f.Event.Limits = quota.Limits{WarnBytes: 1}
	text, err := texts.Compose(f)
	if err != nil {
		t.Fatal(err)
	}
	h, body := read(t, text)
	subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil || subject != "Ihr Postfach wird groß" {
		t.Errorf("subject %q, %v", subject, err)
	}
	if !strings.Contains(body, "enthält 430,3 MiB in 1234 Nachrichten.") || strings.Contains(body, "voll") {
		t.Errorf("body %s", body)
	}
}

func TestOverride(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "mailbox-full.en.txt", "\ufeffSubject: Voll: {{.About}}\r\n\r\n{{.Percent}} % – {{.Size}}.\r\n.\r\n\r\n")
	write(t, dir, "README", "not a template")
	texts, err := Load(dir, English)
	if err != nil {
		t.Fatal(err)
	}
	text, err := texts.Compose(facts(quota.Full, false))
	if err != nil {
		t.Fatal(err)
	}
	h, body := read(t, text)
	if h.Get("Subject") != "Voll: anna@office.example" || body != "90 % – 70 MB.\r\n.\r\n" {
		t.Errorf("subject %q, body %q", h.Get("Subject"), body)
	}
	if text, err := texts.Compose(facts(quota.Warning, false)); err != nil || !bytes.Contains(text, []byte("Your mailbox is 90 % full")) {
		t.Errorf("the others stay: %s, %v", text, err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadErrors(t *testing.T) {
	for _, tt := range []struct{ file, text, want string }{
		{"mailbox-full.en.txt", "Subject: x\n\n{{.Abuot}}\n", "mailbox-full.en.txt:3:2: executing"},
		{"mailbox-full.en.txt", "Subject: x\n\n{{if}}\n", "mailbox-full.en.txt:3: missing value for if"},
		{"mailbox-full.en.txt", "Hello\n", "begins with a line"},
		{"mailbox-full.en.txt", "Subject: x\nHello\n", "begins with a line"},
		{"mailbox-full.en.txt", "Subject:\n\nHello\n", "begins with a line"},
		{"mailbox-full.en.txt", "Subject: x\n\n\n", "begins with a line"},
		{"mailbox-full.en.txt", "", "begins with a line"},
		{"mailbox-full.en.txt", "Subject: a\rBcc: b@a.example\n\nHello\n", "control character"},
		{"mailbox-full.en.txt", "Subject: x\n\nHello\x00\n", "control character"},
		{"mailbox-full.en.txt", "Subject: x\n\nf\xfcr dich\n", "not UTF-8"},
		// This fails only if the mailbox has no limit.
		{"mailbox-warning.en.txt", "Subject: {{with .Limit}}of {{.}}{{end}}\n\nHello\n", "begins with a line"},
		{"warning.txt", "Subject: x\n\nHello\n", "warning.txt: no notice has this name; the names are mailbox-warning.en.txt, "},
	} {
		dir := t.TempDir()
		write(t, dir, tt.file, tt.text)
		if texts, err := Load(dir, English); err == nil || !strings.Contains(err.Error(), tt.want) || !texts.None() {
			t.Errorf("%s %q: got %v, want %q", tt.file, tt.text, err, tt.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), English); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := Load("", "fr"); err == nil || !strings.Contains(err.Error(), `no language "fr"`) {
		t.Errorf("no language: %v", err)
	}
	if _, err := new(Templates).Compose(facts(quota.Full, false)); err == nil {
		t.Error("notices that are off were composed")
	}
}

func TestStandard(t *testing.T) {
	for _, name := range Names() {
		if !strings.HasPrefix(Standard(name), "Subject: ") {
			t.Errorf("%s: %q", name, Standard(name))
		}
	}
	if got := Standard("../notice.go"); got != "" {
		t.Errorf("got %q", got)
	}
}
