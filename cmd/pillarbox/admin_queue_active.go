package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/quota"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

// watchInterval is how often the live view is drawn.
const watchInterval = time.Second

func (a *app) queueActiveCommand() *cobra.Command {
	var watch, asJSON bool
	cmd := a.verb("active [--watch] [--json]", "Show the current deliveries", takes(0, 0),
		func(cmd *cobra.Command, o *admin.Service, _ []string) error {
			look := func(ctx context.Context) (daemon.QueueActivity, error) {
				now, err := daemon.AskQueueActive(ctx, o.Config().Data)
				return now, onlyRunning(err)
			}
			routes := &o.Config().Routes
			if watch {
				return a.watchQueue(cmd.Context(), look, routes, asJSON)
			}
			return respond(a, asJSON, func(a *app, now daemon.QueueActivity) { a.printActive(now, routes) })(look(cmd.Context()))
		})
	cmd.Flags().BoolVar(&watch, "watch", false, "repeat each second until Ctrl-C")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printActive(now daemon.QueueActivity, routes *route.Table) {
	if now.Suppressed > 0 {
		a.note("%d reports and notices were not sent since the start; the log says why ('report not sent')", now.Suppressed)
	}
	if len(now.Active) == 0 {
		a.note("no delivery is in progress; %s in the queue", quota.FormatMessages(int64(now.Messages)))
		return
	}
	a.align(activeLines(now.Active, routes, time.Now()))
}

func activeLines(all []queue.Active, routes *route.Table, now time.Time) []string {
	lines := []string{"SINCE\tID\tDESTINATION\tSIZE\tTO"}
	for _, one := range all {
		to := strings.Join(one.To, ", ")
		if more := len(one.To) - 1; more > 0 {
			to = fmt.Sprintf("%s +%d", one.To[0], more)
		}
		since := one.Since.Local().Format("15:04:05") + " (" + ageText(now.Sub(one.Since)) + ")"
		lines = append(lines, strings.Join([]string{since, one.ID, admin.DestinationText(routes, one.Destination), about(one.Size), to}, "\t"))
	}
	return lines
}

// watchQueue draws the live view until it is interrupted.
func (a *app) watchQueue(ctx context.Context, look func(context.Context) (daemon.QueueActivity, error), routes *route.Table, asJSON bool) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	for ticks := time.NewTicker(watchInterval); ; {
		now, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case asJSON:
			err = a.writeJSON(now)
		default:
			err = a.drawActive(now, routes)
		}
		if errors.Is(err, syscall.EPIPE) {
			return nil // who looked on has gone
		} else if err != nil {
			return err
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// drawActive draws over the last picture on a terminal, and below it elsewhere.
func (a *app) drawActive(now daemon.QueueActivity, routes *route.Table) error {
	var page strings.Builder
	at := time.Now()
	fmt.Fprintf(&page, "%s  %d being delivered, %s in the queue\n", at.Format("15:04:05"), len(now.Active), quota.FormatMessages(int64(now.Messages)))
	if len(now.Active) > 0 {
		w := tabwriter.NewWriter(&page, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\n"+strings.Join(activeLines(now.Active, routes, at), "\n"))
		w.Flush()
	}
	width, height, ok := a.screen()
	if !ok {
		_, err := fmt.Fprintln(a.stdout, page.String())
		return err
	}
	const home, clearDown = "\x1b[H", "\x1b[J"
	_, err := fmt.Fprint(asItIs(a.stdout), home+clearDown+harmless(fit(page.String(), width, height)))
	return err
}

// screen is the size of standard output, if that is a terminal.
func (a *app) screen() (width, height int, ok bool) {
	f, ok := asItIs(a.stdout).(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24 // as terminals were that cannot say it
	}
	return width, height, true
}

// fit cuts a page to a screen, so that the next one comes to lie over it.
func fit(page string, width, height int) string {
	lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if more := len(lines) - (height - 1); more > 0 && height > 3 {
		lines = append(lines[:height-2], fmt.Sprintf("... and %d more", more+1))
	}
	for i, line := range lines {
		if runes := []rune(line); len(runes) > width {
			lines[i] = string(runes[:width])
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
