package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// badLogin says USER and PASS to a server and prints the lines that it answers,
// the greeting first: "badlogin [-tls] address user password". Nothing is wrong
// with an answer, or none.
func badLogin(ts *testscript.TestScript, neg bool, args []string) {
	secure := len(args) == 4 && args[0] == "-tls"
	if secure {
		args = slices.Delete(args, 0, 1)
	}
	if neg || len(args) != 3 {
		ts.Fatalf("usage: badlogin [-tls] address user password")
	}
	c, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	ts.Check(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	out := ts.Stdout() // even when nothing comes, it is what the script looks at next
	answers := bufio.NewScanner(c)
	for _, command := range []string{"USER " + args[1], "PASS " + args[2], "QUIT"} {
		if !answers.Scan() {
			return
		}
		fmt.Fprintln(out, answers.Text())
		fmt.Fprintf(c, "%s\r\n", command)
	}
}
