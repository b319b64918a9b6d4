package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/cmd/internal/systemd"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the server until SIGTERM; SIGHUP reloads the configuration",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.serve() },
	}
}

// collectAt is the growth of the heap, in percent, that starts a garbage collection. The server
// keeps little memory and discards much: with Go's default of 100 it would collect every few
// megabytes, at the cost of a sixth of its CPU time under load. GOGC in the environment overrides
// it.
const collectAt = 300

func (a *app) serve() error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	reload := make(chan struct{})
	go func() {
		for range hangups {
			reload <- struct{}{}
		}
	}()
	sockets, err := systemd.Inherit()
	if err != nil {
		return fmt.Errorf("the sockets that systemd passes cannot be used: %w", err)
	}
	d, err := daemon.StartWith(daemon.System{
		Load: a.load, Out: a.stderr, Version: version,
		Listen: sockets.Listen, UnusedSockets: sockets.Unused, Reporter: systemd.NewReporter(),
	})
	if err != nil {
		return err
	}
	return d.Run(ctx, reload)
}

func (a *app) reloadCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Reload the configuration file in the running server",
		Args:  takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.reload(cmd.Context(), asJSON) },
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) reload(ctx context.Context, asJSON bool) error {
	if _, err := a.load(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("nothing was reloaded:\n%w", err)
	}
	result, err := call(ctx, a, admin.ServerReload, struct{}{})
	if err == nil && result.Error != "" {
		err = fmt.Errorf("nothing was reloaded:\n%s", result.Error)
	}
	return respond(a, asJSON, (*app).printReload)(result, err)
}

func (a *app) printReload(result admin.ReloadResult) {
	if len(result.Changed) == 0 {
		fmt.Fprintln(a.stdout, "reloaded; no setting has changed")
	} else {
		fmt.Fprintln(a.stdout, "reloaded; changed:")
	}
	for _, key := range result.Changed {
		fmt.Fprintln(a.stdout, "  "+key)
	}
	for _, key := range result.Restart {
		a.note("%s takes effect after a restart of the server", key)
	}
	for _, warning := range result.Warnings {
		a.note("%s", warning)
	}
}
