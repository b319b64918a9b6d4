package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
)

// watchInterval is how often the live view is drawn.
const watchInterval = time.Second

func (a *app) queueActiveCommand() *cobra.Command {
	var watch, asJSON bool
	cmd := command("active [--watch] [--json]", "Show the current deliveries", takes(0, 0),
		func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchQueue(cmd.Context(), asJSON)
			}
			now, err := call(cmd.Context(), a, admin.QueueActive, struct{}{})
			if err == nil && asJSON {
				return a.writeJSON(now.Activity)
			}
			return answer(a, (*app).printActive)(now, err)
		})
	cmd.Flags().BoolVar(&watch, "watch", false, "repeat each second until Ctrl-C")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printActive(now admin.QueueNow) {
	if n := now.Activity.Suppressed; n > 0 {
		a.note("%d reports and notices were not sent since the start; the log says why ('report not sent')", n)
	}
	if len(now.Activity.Active) == 0 {
		a.note("no delivery is in progress; %s in the queue", quota.FormatMessages(int64(now.Activity.Messages)))
		return
	}
	a.align(activeLines(now, time.Now()))
}

func activeLines(all admin.QueueNow, now time.Time) []string {
	lines := []string{"SINCE\tID\tDESTINATION\tSIZE\tTO"}
	for i, one := range all.Activity.Active {
		to := strings.Join(one.To, ", ")
		if more := len(one.To) - 1; more > 0 {
			to = fmt.Sprintf("%s +%d", one.To[0], more)
		}
		since := one.Since.Local().Format("15:04:05") + " (" + ageText(now.Sub(one.Since)) + ")"
		lines = append(lines, strings.Join([]string{since, one.ID, all.Names[i], about(one.Size), to}, "\t"))
	}
	return lines
}

// watchQueue draws the live view until it is interrupted.
func (a *app) watchQueue(ctx context.Context, asJSON bool) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	for ticks := time.NewTicker(watchInterval); ; {
		now, err := call(ctx, a, admin.QueueActive, struct{}{})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case asJSON:
			err = a.writeJSON(now.Activity)
		default:
			err = a.drawActive(now)
		}
		if errors.Is(err, syscall.EPIPE) {
			return nil // the reader has gone
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

// drawActive prints a page. On a terminal it replaces the last page; otherwise it appends.
func (a *app) drawActive(now admin.QueueNow) error {
	var page strings.Builder
	at := time.Now()
	fmt.Fprintf(&page, "%s  %d being delivered, %s in the queue\n", at.Format("15:04:05"), len(now.Activity.Active), quota.FormatMessages(int64(now.Activity.Messages)))
	if len(now.Activity.Active) > 0 {
		page.WriteString("\n" + columns(activeLines(now, at)))
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

// screen returns the size of standard output in characters, if it is a terminal.
func (a *app) screen() (width, height int, ok bool) {
	f, ok := asItIs(a.stdout).(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24 // the default if the terminal does not report its size
	}
	return width, height, true
}

// fit cuts a page to a screen, so that the next page overwrites it without scrolling.
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
