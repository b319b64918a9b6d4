package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// heldKey is the key of the clients that a script holds.
type heldKey struct{}

// heldClient is a connection that a script keeps open.
type heldClient struct {
	net.Conn
	in *bufio.Reader
}

// hold connects, sends commands, each after a line from the server, and keeps the connection open
// until ended: "hold name address command...". The server must answer with one line each.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: hold name address command...")
	}
	c, err := net.DialTimeout("tcp", args[1], 10*time.Second)
	ts.Check(err)
	ts.Defer(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	for _, command := range append(args[2:], "") {
		line, err := in.ReadString('\n')
		ts.Check(err)
		ts.Logf("%s", line)
		if command != "" {
			fmt.Fprintf(c, "%s\r\n", command)
		}
	}
	ts.Value(heldKey{}).(map[string]heldClient)[args[0]] = heldClient{c, in}
}

// ended prints what the server sends on a connection until it closes it: "ended name".
func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ended name")
	}
	client, ok := ts.Value(heldKey{}).(map[string]heldClient)[args[0]]
	if !ok {
		ts.Fatalf("no client %s is held", args[0])
	}
	rest, err := io.ReadAll(client.in)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(string(rest), "\r\n", "\n"))
}
