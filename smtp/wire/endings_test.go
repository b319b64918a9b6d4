package wire

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const smuggled = "MAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nsmuggled\r\n.\r\n"

// TestEndings sends messages that end in every way, cut anywhere, followed by silence or by more
// commands. A second message comes in only after an end that counts, and a client that is silent
// after a line with a dot gets its answer within 10 seconds.
func TestEndings(t *testing.T) {
	const (
		crlf, lf = "Subject: x\r\n\r\nhi", "Subject: x\n\nhi"
		none     = -1
	)
	// The modes in which the end counts if nothing follows, and if commands follow.
	all, machines := RefuseBare, NormaliseBareDot
	for _, tt := range []struct {
		text, end         string
		silent, pipelined BareEndings
		answered          bool // within 10 seconds of silence, whatever the mode
	}{
		{crlf, "\r\n.\r\n", all, all, true},
		{crlf, "\n.\n", machines, none, true},
		{crlf, "\n.\r\n", none, none, true},
		{crlf, "\r\n.\n", none, none, true},
		{crlf, "\r\n.\r\r\n", none, none, true},
		{crlf, "\r.\r", none, none, false},
		{crlf, "\r\n.\r", none, none, false},
		{crlf, "\r.\r\n", none, none, false},
		{crlf, "\r\n\x00.\r\n", none, none, false},
		{crlf, "\r\n.\x00\r\n", none, none, false},
		{crlf, "\r\n\r\x00.\r\n", none, none, false},
		{crlf, "\n\n.\n\n", none, none, true},
		{lf, "\n.\n", machines, machines, true},
		{lf, "\r\n.\r\n", NormaliseBare, NormaliseBare, true},
		{lf, "\n.\r\n", none, none, true},
		{lf, "\r\n.\n", none, none, true},
		{lf, "\n.\r", none, none, false},
		{lf, "\n\x00.\n", none, none, false},
	} {
		for mode := RefuseBare; mode <= NormaliseBareDot; mode++ {
			for cut := 1; cut <= len(tt.end); cut++ {
				at := len(tt.text) + cut
				name := strings.NewReplacer("\r", "CR", "\n", "LF", "\x00", "NUL").Replace(tt.text[10:] + tt.end)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						testSilence(t, mode, tt.text+tt.end, at, tt.silent >= 0 && mode >= tt.silent, tt.answered)
					})
					synctest.Test(t, func(t *testing.T) {
						testPipelined(t, mode, tt.text+tt.end+smuggled, at, tt.pipelined >= 0 && mode >= tt.pipelined)
					})
				})
			}
		}
	}
}

// beginBody opens a connection in a mode and sends a body in two pieces.
func beginBody(t *testing.T, mode BareEndings, body string, cut int) (c net.Conn, bodies *[]string) {
	c, _, bodies = serveSession(t, testConfig(), discard{bare: mode})
	talk(t, c, "", "220 ", "EHLO x\r\n", "250 ", "MAIL FROM:<a@b>\r\n", "250 ", "RCPT TO:<c@d>\r\n", "250 ", "DATA\r\n", "354 ")
	inBackground(t, c, func() {
		io.WriteString(c, body[:cut])
		time.Sleep(time.Second)
		io.WriteString(c, body[cut:])
	})
	return c, bodies
}

// inBackground runs a function that uses c. The test waits for it after closing c.
func inBackground(t *testing.T, c net.Conn, f func()) {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	t.Cleanup(func() { c.Close(); <-done })
}

func testSilence(t *testing.T, mode BareEndings, body string, cut int, ends, answered bool) {
	c, bodies := beginBody(t, mode, body, cut)
	begun := time.Now()
	reply, err := readLineOf(c)
	took := time.Since(begun)
	synctest.Wait()
	switch {
	case ends && !strings.HasPrefix(reply, "250 "), !ends && strings.HasPrefix(reply, "2"):
		t.Fatalf("mode %d: %q, %v", mode, reply, err)
	case answered && (took > 10*time.Second || !ends && !strings.HasPrefix(reply, "554 ")):
		t.Fatalf("mode %d: %q after %v", mode, reply, took)
	case len(*bodies) != 0 && !ends, len(*bodies) != 1 && ends:
		t.Fatalf("mode %d: %q was taken", mode, *bodies)
	}
	if answered && took > 2*time.Second { // the server guessed, so more of the body must not become a command
		inBackground(t, c, func() { io.WriteString(c, smuggled) })
		reply, _ := readLineOf(c)
		synctest.Wait()
		if !strings.HasPrefix(reply, "421 ") || len(*bodies) > 1 {
			t.Fatalf("mode %d: %q after a guess, %q", mode, reply, *bodies)
		}
	}
}

func testPipelined(t *testing.T, mode BareEndings, body string, cut int, ends bool) {
	c, bodies := beginBody(t, mode, body, cut)
	inBackground(t, c, func() { io.Copy(io.Discard, c) })
	time.Sleep(20 * time.Second)
	synctest.Wait()
	want := 0
	switch {
	case ends:
		want = 2
	case strings.HasSuffix(body, "\r\n.\r\n"+smuggled): // the first message is refused, the second is not
		if len(*bodies) != 1 || (*bodies)[0] != "smuggled\r\n" {
			t.Fatalf("mode %d: got %q", mode, *bodies)
		}
		return
	case mode != RefuseBare, !strings.ContainsAny(strings.ReplaceAll(body, "\r\n", ""), "\r\n"):
		want = 1 // the smuggled dot ends the one message
	}
	if len(*bodies) != want {
		t.Fatalf("mode %d: got %q, want %d messages", mode, *bodies, want)
	}
	if want == 1 && !strings.Contains((*bodies)[0], "MAIL FROM:<evil@b>") {
		t.Fatalf("mode %d: text is missing in %q", mode, *bodies)
	}
}

// TestLoneDotLater checks that a client whose text has a line with a dot between LFs is not cut off
// while it sends, and that it is answered if it is silent later.
func TestLoneDotLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bodies := beginBody(t, NormaliseBare, "a\n.\nb\r\n", 5)
		for range 5 {
			time.Sleep(5 * time.Second)
			io.WriteString(c, "more\r\n")
		}
		inBackground(t, c, func() { io.WriteString(c, ".\r\nNOOP\r\n") })
		expect(t, c, "250 ")
		synctest.Wait()
		if got := *bodies; len(got) != 1 || !strings.HasPrefix(got[0], "a\r\n.\r\nb\r\nmore\r\n") {
			t.Fatalf("got %q", got)
		}
		expect(t, c, "250 ")
	})
}

// TestBreakAfterLoneDot checks that a connection that breaks is not taken for silence: the message
// may not be whole.
func TestBreakAfterLoneDot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bodies := beginBody(t, NormaliseBareDot, "Subject: x\r\n\r\nhi\n.\n", 5)
		time.Sleep(2 * time.Second)
		c.Close()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(*bodies) != 0 {
			t.Errorf("taken: %q", *bodies)
		}
	})
}
