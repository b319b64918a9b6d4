package main

import (
	"fmt"
	"net"
	"net/textproto"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// smtpTalk sends SMTP commands and prints the last line of each reply, the greeting first: "smtptalk
// address command...". A script looks at what it prints.
func smtpTalk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: smtptalk address command...")
	}
	c, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	ts.Check(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	text := textproto.NewConn(c)
	for _, command := range append(args[1:], "QUIT") {
		code, message, err := text.ReadResponse(0)
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), code, message)
		fmt.Fprintf(c, "%s\r\n", command)
	}
}
