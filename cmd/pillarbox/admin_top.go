package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/traffic"
	"pillarbox/mailstore/sessions"
	"pillarbox/quota"
)

// topInterval is how often the live view is drawn.
const topInterval = 2 * time.Second

func (a *app) topCommand() *cobra.Command {
	var asJSON bool
	cmd := command("top [--json]", "Watch sessions, queue and rates until q or Ctrl-C", takes(0, 0),
		func(cmd *cobra.Command, _ []string) error {
			if _, _, terminal := a.screen(); terminal && !asJSON {
				return a.watchTop(cmd.Context())
			}
			return respond(a, asJSON, (*app).printTop)(call(cmd.Context(), a, admin.LiveTop, struct{}{}))
		})
	cmd.Long = `Watch sessions, queue and rates until q or Ctrl-C.

The view is drawn every 2 seconds. If standard output is no terminal, or with --json, it is
written once.`
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) printTop(now admin.Top) { fmt.Fprint(a.stdout, topPage(now, nil)) }

// watchTop draws the live view until it is interrupted.
func (a *app) watchTop(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	quit, restore := a.quitKey()
	defer restore()
	ticks := time.NewTicker(topInterval)
	defer ticks.Stop()
	var before *admin.Top
	for {
		now, err := call(ctx, a, admin.LiveTop, struct{}{})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := a.drawTop(topPage(now, before)); err != nil {
			return err
		}
		before = &now
		select {
		case <-ticks.C:
		case <-quit:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// drawTop replaces the page on the terminal.
func (a *app) drawTop(page string) error {
	width, height, _ := a.screen()
	const home, clearDown = "\x1b[H", "\x1b[J"
	_, err := fmt.Fprint(asItIs(a.stdout), home+clearDown+harmless(fit(page, width, height)))
	return err
}

// quitKey returns a channel that is closed when the person types q, and a function that makes the
// terminal as it was. The terminal passes on keys at once, and does not show them.
func (a *app) quitKey() (quit <-chan struct{}, restore func()) {
	typed := make(chan struct{})
	f, ok := a.stdin.(*os.File)
	if !ok {
		return typed, func() {}
	}
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return typed, func() {} // no terminal
	}
	direct := *old
	direct.Lflag &^= unix.ICANON | unix.ECHO
	direct.Cc[unix.VMIN], direct.Cc[unix.VTIME] = 1, 0
	_ = unix.IoctlSetTermios(fd, unix.TCSETS, &direct)
	go waitForQuit(f, typed)
	return typed, func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }
}

// waitForQuit closes typed when it reads a q.
func waitForQuit(keys io.Reader, typed chan<- struct{}) {
	for key := make([]byte, 1); ; {
		n, err := keys.Read(key)
		if err != nil {
			return
		}
		if n == 1 && (key[0] == 'q' || key[0] == 'Q') {
			close(typed)
			return
		}
	}
}

// topPage is the live view as text. before is the last state, for the rates; nil: there is none.
func topPage(now admin.Top, before *admin.Top) string {
	var page strings.Builder
	fmt.Fprintf(&page, "%s  up %s  %s  queue: %s, %d being delivered\n", now.Now.Local().Format("15:04:05"),
		ageText(now.Now.Sub(now.Since)), many(int64(len(now.Sessions)), "session"),
		quota.FormatMessages(int64(now.Queue)), now.Active)
	lines := []string{"\tACCEPTED\tDELIVERED\tRELAYED\tFETCHED\tREFUSED", "Today\t" + countCells(now.Today)}
	if before != nil {
		lines = append(lines, "Per second\t"+rateCells(now, *before))
	}
	page.WriteString(columns(lines))
	if len(now.Sessions) > 0 {
		lines := []string{sessionHeader}
		for _, s := range busiestFirst(now.Sessions) {
			lines = append(lines, sessionRow(s, now.Now))
		}
		page.WriteString("\n" + columns(lines))
	}
	return page.String()
}

// topCounts are the numbers of messages in the order of the columns.
func topCounts(d traffic.Day) []int64 {
	return []int64{d.Accepted.Messages, d.Delivered.Messages, d.Relayed.Messages, d.Fetched.Messages, d.Refused}
}

func countCells(d traffic.Day) string {
	var cells []string
	for _, n := range topCounts(d) {
		cells = append(cells, fmt.Sprint(n))
	}
	return strings.Join(cells, "\t")
}

// rateCells are the messages per second between two states. They are unknown at midnight, when the
// counts begin again, and when the counts from before the start of the server come in.
func rateCells(now, before admin.Top) string {
	took := now.Now.Sub(before.Now).Seconds()
	known := took > 0 && now.Today.Since.Equal(before.Today.Since) &&
		now.Today.Complete == before.Today.Complete && now.Since.Equal(before.Since)
	was := topCounts(before.Today)
	var cells []string
	for i, n := range topCounts(now.Today) {
		if known {
			cells = append(cells, fmt.Sprintf("%.1f", float64(n-was[i])/took))
		} else {
			cells = append(cells, "-")
		}
	}
	return strings.Join(cells, "\t")
}

// busiestFirst returns the sessions that do something before those that wait for their client. Of
// each, the state that began last comes first.
func busiestFirst(all []sessions.Info) []sessions.Info {
	waits := func(s sessions.Info) int {
		if s.State == sessions.Idle || s.State == sessions.LoggingIn {
			return 1
		}
		return 0
	}
	return slices.SortedFunc(slices.Values(all), func(a, b sessions.Info) int {
		return cmp.Or(cmp.Compare(waits(a), waits(b)), b.StateSince.Compare(a.StateSince), cmp.Compare(a.ID, b.ID))
	})
}
