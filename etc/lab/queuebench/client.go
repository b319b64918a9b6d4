package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
)

// body is a message of 4 KB, followed by the final dot of DATA.
var body = "Subject: benchmark\r\nFrom: anna@office.example\r\n\r\n" +
	strings.Repeat(strings.Repeat("x", 76)+"\r\n", 51) + ".\r\n"

// client is an SMTP client on one connection.
type client struct {
	net.Conn
	in *bufio.Reader
}

func dial(port string) (*client, error) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReader(conn)}
	return c, c.expect("220")
}

// command sends one or more lines and expects a reply that begins with want.
func (c *client) command(text, want string) error {
	if _, err := fmt.Fprint(c, text, "\r\n"); err != nil {
		return err
	}
	return c.expect(want)
}

func (c *client) expect(want string) error {
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, want) {
			return fmt.Errorf("the reply is %q, not %s", strings.TrimSpace(line), want)
		}
		return nil
	}
}

func (c *client) login(user, password string) error {
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	return c.command("AUTH PLAIN "+response, "235")
}

func (c *client) send() error {
	for _, step := range []struct{ text, want string }{
		{"MAIL FROM:<anna@office.example>", "250"},
		{"RCPT TO:<somebody@far.example>", "250"},
		{"DATA", "354"},
		{strings.TrimSuffix(body, "\r\n"), "250"},
	} {
		if err := c.command(step.text, step.want); err != nil {
			return err
		}
	}
	return nil
}
