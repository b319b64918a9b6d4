package main

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/sessions"
)

func (a *app) sessionsCommand() *cobra.Command {
	var kill uint64
	var asJSON bool
	cmd := command("sessions [--kill ID] [--json]", "List the clients that are connected, or close a session",
		takes(0, 0), func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("kill") {
				return respond(a, asJSON, printChange)(call(cmd.Context(), a, admin.SessionKill, kill))
			}
			print := table("sessions", sessionHeader, func(s sessions.Info) string {
				return sessionRow(s, time.Now())
			})
			return respond(a, asJSON, print)(call(cmd.Context(), a, admin.SessionList, struct{}{}))
		})
	cmd.Long = `List the clients that are connected, or close a session.

--kill closes the session with this ID. The client is told: 421 by SMTP, -ERR [SYS/TEMP] by
POP3. A message that it is sending is not accepted, and the messages that it has marked are not
deleted. To keep it away, lock the mailbox or refuse its address.`
	cmd.Flags().Uint64Var(&kill, "kill", 0, "close the session with this `ID`")
	addJSON(cmd, &asJSON)
	return cmd
}

// printChange is report for respond.
func printChange(a *app, c admin.Change) { _ = a.report(c, nil) }

const sessionHeader = "ID\tSERVICE\tCLIENT\tNAME\tUSER\tTLS\tSTATE\tSINCE\tIN\tOUT\tMESSAGES"

// sessionRow is a session as a row of a table. The client chooses its name, so it may be any text.
func sessionRow(s sessions.Info, now time.Time) string {
	state := s.State.String() + " " + ageText(now.Sub(s.StateSince))
	if s.Killed {
		state = "closing"
	}
	client := s.Remote.String()
	if s.Port != 0 {
		client = net.JoinHostPort(client, strconv.Itoa(int(s.Port)))
	}
	return strings.Join([]string{
		strconv.FormatUint(s.ID, 10), printable(s.Service), client,
		cmp.Or(shorten(printable(s.Helo), 30), "-"), cmp.Or(printable(s.User), "-"),
		tlsText(s.TLS), state, ageText(now.Sub(s.Since)), about(s.In), about(s.Out),
		fmt.Sprint(s.Messages),
	}, "\t")
}

// tlsText is the version of TLS without the cipher suite.
func tlsText(text string) string {
	if i := strings.LastIndexByte(text, ' '); i > 0 {
		text = text[:i]
	}
	return cmp.Or(printable(text), "no")
}
