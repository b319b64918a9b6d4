package main

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"pillarbox/cmd/internal/config"
)

// manCommand writes the manual pages of a package. It is hidden, because a person reads them with man.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages of all commands into a directory",
		Hidden: true,
		Args:   takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			// The default of --config must not depend on the environment of a build.
			root.PersistentFlags().Lookup("config").DefValue = config.DefaultPath
			root.DisableAutoGenTag = true // it has the day of the build
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			header := &doc.GenManHeader{Section: "1", Source: "Pillarbox " + version, Manual: "Pillarbox", Date: buildDate()}
			return doc.GenManTree(root, header, args[0])
		},
	}
}

// buildDate is the time in SOURCE_DATE_EPOCH, so that two builds are equal; without it, the first day of the epoch.
func buildDate() *time.Time {
	seconds, _ := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	t := time.Unix(seconds, 0).UTC()
	return &t
}
