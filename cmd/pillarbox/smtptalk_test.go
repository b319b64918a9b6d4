package main

import (
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// smtpTalk sends SMTP commands and prints the last line of each reply, the greeting first: "smtptalk
// address command...". A script looks at what it prints. "|" in a command is a line end.
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
		fmt.Fprintf(c, "%s\r\n", strings.ReplaceAll(command, "|", "\r\n"))
	}
}

// popTalk sends POP3 commands and prints the first line of each reply: "poptalk address command...".
func popTalk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: poptalk address command...")
	}
	c, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	ts.Check(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	text := textproto.NewConn(c)
	for _, command := range append(args[1:], "QUIT") {
		line, err := text.ReadLine()
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), line)
		fmt.Fprintf(c, "%s\r\n", command)
		if strings.HasPrefix(command, "RETR") {
			line, err = text.ReadLine()
			ts.Check(err)
			fmt.Fprintln(ts.Stdout(), line)
			_, err = text.ReadDotLines()
			ts.Check(err)
			fmt.Fprintf(c, "NOOP\r\n") // the loop reads its reply
		}
	}
	_, err = text.ReadLine() // of QUIT, after which the messages are gone
	ts.Check(err)
}
