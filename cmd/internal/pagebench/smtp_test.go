package pagebench

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
)

// client speaks SMTP.
type client struct {
	b *testing.B
	net.Conn
	r *bufio.Reader
}

// dial connects and reads the greeting.
func dial(b *testing.B, address string) *client {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	c := &client{b, conn, bufio.NewReader(conn)}
	c.expect("220 ")
	return c
}

func (c *client) say(command, want string) {
	c.b.Helper()
	fmt.Fprintf(c, "%s\r\n", command)
	c.expect(want)
}

// expect reads a reply, of which the last line must begin as wanted.
func (c *client) expect(want string) {
	c.b.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.b.Fatal(err)
		}
		if strings.HasPrefix(line, want) {
			return
		}
		if len(line) < 4 || line[3] != '-' {
			c.b.Fatalf("%q, want %q", line, want)
		}
	}
}

var message = "Subject: benchmark\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52) + "."

// send sends a message of 4 KB.
func (c *client) send(from, to string) {
	c.say("MAIL FROM:<"+from+">", "250 ")
	c.say("RCPT TO:<"+to+">", "250 ")
	c.say("DATA", "354 ")
	c.say(message, "250 ")
}

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}
