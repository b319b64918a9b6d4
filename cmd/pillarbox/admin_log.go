package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/logging"
)

func (a *app) logCommand() *cobra.Command {
	return family("log", "What the server logs", a.logShowCommand(), a.logLevelCommand())
}

func (a *app) logShowCommand() *cobra.Command {
	var q admin.LogQuestion
	var asJSON bool
	cmd := command("show [--lines N] [--match TEXT] [--json]", "Show the end of the running server's log", takes(0, 0),
		func(cmd *cobra.Command, _ []string) error {
			return respond(a, asJSON, (*app).printLog)(call(cmd.Context(), a, admin.LogShow, q))
		})
	cmd.Long = `Show the end of the running server's log, as it was written since the start.

The server keeps about 256 KiB of it in memory. All of it is where the server writes it,
such as in 'journalctl -u pillarbox'.`
	cmd.Flags().IntVar(&q.Lines, "lines", 100, "at most so many lines")
	cmd.Flags().StringVar(&q.Match, "match", "", "only lines that contain a `text`")
	addJSON(cmd, &asJSON)
	return cmd
}

// printLog prints lines of the log. What clients sent is escaped in them.
func (a *app) printLog(lines []string) {
	for _, line := range lines {
		fmt.Fprintln(a.stdout, line)
	}
}

func (a *app) logLevelCommand() *cobra.Command {
	var asJSON bool
	cmd := command("level [PART LEVEL] [--json]", "List what each part of the server logs, or change it",
		takes(0, 2), func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 1:
				return admin.Hint(usageError{errors.New("admin log level: the level is missing")},
					"'pillarbox admin log level %s debug' sets one; without a part all are listed",
					args[0])
			case 2:
				in := admin.LogLevelToSet{Part: args[0], Level: logging.Word(args[1])}
				return respond(a, asJSON, printChange)(call(cmd.Context(), a, admin.LogLevelSet, in))
			}
			print := table("parts", "PART\tLEVEL\tCONFIGURED", func(l logging.PartLevel) string {
				return l.Part + "\t" + string(l.Level) + "\t" + string(l.Configured)
			})
			return respond(a, asJSON, print)(call(cmd.Context(), a, admin.LogLevels, struct{}{}))
		})
	cmd.Long = `List what each part of the server logs, or change it.

LEVEL is debug, info, warn or error. pop3 also takes none, minimum, medium and maximum, the
logging levels of the POP3 service of Windows. A level that is set here lasts until the next
reload or start of the server. [log.levels] in the configuration sets it for good.`
	addJSON(cmd, &asJSON)
	return cmd
}
