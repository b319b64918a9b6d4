package wire

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// A session with commands but no message ends with a 421 in bounded time. A session with messages
// does not end. The pauses are shorter than every other timeout.
func TestSessionsMustProgress(t *testing.T) {
	const patience = 10 * time.Minute
	for _, tt := range []struct {
		name  string
		loop  []string // each followed by the reply to wait for; "" is none
		pause time.Duration
		most  time.Duration // 0 means that it does not end
		last  string
	}{
		{"NOOP", []string{"NOOP\r\n", "250 "}, 7 * time.Second, patience, "421 4.4.2 mx got no message"},
		{"RSET and MAIL", []string{"RSET\r\n", "250 ", "MAIL FROM:<a@b>\r\n", "250 "}, 7 * time.Second, patience, "421 4.4.2 mx got no message"},
		{"EHLO", []string{"EHLO x\r\n", "250 "}, 7 * time.Second, patience, "421 4.4.2 mx got no message"},
		{"RCPT", []string{"RSET\r\n", "250 ", "MAIL FROM:<a@b>\r\n", "250 ", "RCPT TO:<c@d>\r\n", "250 "}, 61 * time.Second, patience, "421 4.4.2 mx got no message"},
		{"messages", []string{"MAIL FROM:<a@b>\r\n", "250 ", "RCPT TO:<c@d>\r\n", "250 ", "DATA\r\n", "354 ", ".\r\n", "250 "}, 4 * time.Minute, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig()
				cfg.ProgressTimeout = patience
				c, _, _ := serve(t, cfg)
				talk(t, c, "", "220 ", "EHLO x\r\n", "250 ")
				start := time.Now()
				for time.Since(start) < time.Hour {
					reply, err := askOnce(c, tt.loop)
					if err != nil || strings.HasPrefix(reply, "421") {
						if took := time.Since(start); tt.most == 0 || took > tt.most+tt.pause || !strings.HasPrefix(reply, tt.last) {
							t.Errorf("ended after %v with %q, %v", took, reply, err)
						}
						return
					}
					if tt.most == 0 {
						time.Sleep(tt.pause)
						continue
					}
					c.SetReadDeadline(time.Now().Add(tt.pause))
					if reply, err := readLineOf(c); err == nil { // the server did not wait for the next line
						if took := time.Since(start); took > tt.most || !strings.HasPrefix(reply, tt.last) {
							t.Errorf("ended after %v with %q", took, reply)
						}
						return
					}
					c.SetReadDeadline(time.Time{})
				}
				if tt.most != 0 {
					t.Error("it goes on for ever")
				}
			})
		})
	}
}

// askOnce sends each line after the reply to the one before, and returns the last reply.
func askOnce(c io.ReadWriter, lines []string) (reply string, err error) {
	for i := 0; i < len(lines); i += 2 {
		if _, err = io.WriteString(c, lines[i]); err != nil {
			return reply, err
		}
		for {
			if reply, err = readLineOf(c); err != nil || strings.HasPrefix(reply, "421") {
				return reply, err
			}
			if strings.HasPrefix(reply, lines[i+1]) {
				break
			}
		}
	}
	return reply, nil
}

func readLineOf(c io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			return string(line), err
		}
		if line = append(line, b[0]); b[0] == '\n' {
			return strings.TrimSpace(string(line)), nil
		}
	}
}

// A body that comes in drips ends the connection; one at the rate of a slow modem does not.
func TestBodyMustProgress(t *testing.T) {
	for _, tt := range []struct {
		name  string
		piece string
		pause time.Duration
		ends  bool
	}{
		{"an octet each 7 s", "x", 7 * time.Second, true},
		{"a line each minute", "text\r\n", 61 * time.Second, true},
		{"2400 bit/s", strings.Repeat("x", 238) + "\r\n", time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, bodies := serve(t, testConfig())
				talk(t, c, intoData...)
				start := time.Now()
				for time.Since(start) < 50*time.Minute {
					if _, err := io.WriteString(c, tt.piece); err != nil {
						break
					}
					c.SetReadDeadline(time.Now().Add(tt.pause))
					if reply, err := readLineOf(c); err == nil {
						if !tt.ends || time.Since(start) > 7*time.Minute {
							t.Errorf("after %v: %q", time.Since(start), reply)
						}
						return
					}
				}
				c.SetReadDeadline(time.Time{})
				if tt.ends {
					t.Error("it goes on for ever")
					return
				}
				io.WriteString(c, "\r\n.\r\n")
				expect(t, c, "250 ")
				if len(*bodies) != 1 {
					t.Error("the message is not there")
				}
			})
		})
	}
}

// A panic in any part of a session ends that session with a 421, and no connection is left open.
func TestPanicEndsTheSessionOnly(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		talk   []string
	}{
		"admit":  {func(cfg *Config) { cfg.Admit = func(*Conn) (Session, *smtp.Reply) { panic("who is this?") } }, nil},
		"greet":  {func(cfg *Config) { cfg.Greeting = func() string { panic("what?") } }, nil},
		"path":   {func(cfg *Config) { cfg.DefaultDomain = func(string) addr.Domain { panic("whose?") } }, []string{"", "220 ", "HELO x\r\n", "250 ", "MAIL FROM:<a>\r\n", ""}},
		"ETRN":   {func(cfg *Config) { cfg.ETRN = true }, []string{"", "220 ", "EHLO x\r\n", "250 ", "ETRN x\r\n", ""}},
		"a body": {nil, append(slices.Clone(intoData), panicking+"\r\n.\r\n", "")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig()
				if test.change != nil {
					test.change(cfg)
				}
				c, l, _ := serveSession(t, cfg, discard{etrn: func(string) *smtp.Reply { panic("what?") }})
				talk(t, c, test.talk...)
				expect(t, c, "421 ")
				if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
					t.Errorf("then %q, %v; want the end", rest, err)
				}
				synctest.Wait()
				if n := l.count(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}
