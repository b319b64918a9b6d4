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
// the greeting first: "badlogin [-tls | -xp] address user password", with TLS from
// the first octet on, as a program of today or as one on Windows XP. Nothing is
// wrong with an answer, or none.
func badLogin(ts *testscript.TestScript, neg bool, args []string) {
	as := map[string]*tls.Config{
		"-tls": {InsecureSkipVerify: true},
		"-xp": {
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA},
		},
	}[args[0]]
	if as != nil {
		args = slices.Delete(args, 0, 1)
	}
	if neg || len(args) != 3 {
		ts.Fatalf("usage: badlogin [-tls | -xp] address user password")
	}
	c, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	ts.Check(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if as != nil {
		c = tls.Client(c, as)
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
