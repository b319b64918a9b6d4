package server

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
)

// appPassword gives anna an app password.
func (o *office) appPassword(t *testing.T, name string, scope directory.Access) (id, login string) {
	t.Helper()
	box, err := o.dir.Mailbox(address(t, "anna"))
	if err != nil {
		t.Fatal(err)
	}
	password, add, err := auth.NewAppPassword(box.Account, name, scope, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	err = o.dir.UpdateAccount(box.Address, func(acc *directory.Account) error {
		_, err := add(acc)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return password[:4], "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna\x00"+password))
}

// A removed app password ends an open session with its next message. One for POP3 is refused like a
// wrong password.
func TestAppPassword(t *testing.T) {
	o := newOffice(t, smtp.MTA, func(c *Config) { c.Rules.LogIns.PlaintextNetworks = hosts(t, "127.0.0.1") })
	o.mailbox(t, "anna", "secret")
	id, login := o.appPassword(t, "laptop", directory.AccessSMTP)
	_, reading := o.appPassword(t, "reader", directory.AccessPOP3)
	wrong := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna\x00wrong"))

	conn, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	say := func(line string) (reply string) {
		t.Helper()
		if line != "" {
			fmt.Fprintf(conn, "%s\r\n", line)
		}
		for {
			reply, err = r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if len(reply) > 3 && reply[3] == ' ' {
				return reply
			}
		}
	}
	want := func(line, reply string) {
		t.Helper()
		if got := say(line); !strings.HasPrefix(got, reply) {
			t.Errorf("%s: %s, want %s", line, got, reply)
		}
	}
	want("", "220 ")
	want("EHLO pc", "250 ")
	refused, other := say(wrong), say(reading)
	if refused != other || !strings.HasPrefix(other, "535 5.7.8") {
		t.Errorf("one for POP3: %s, a wrong one: %s", other, refused)
	}
	want(login, "235 ")
	want("MAIL FROM:<anna@office.example>", "250 ")
	want("RSET", "250 ")
	err = o.dir.UpdateAccount(address(t, "anna"), func(acc *directory.Account) error { return acc.RemoveAppPassword(id) })
	if err != nil {
		t.Fatal(err)
	}
	want("MAIL FROM:<anna@office.example>", "535 5.7.8")
}
