package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/selftest"
)

func (a *app) selftestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Send and fetch a message through every listener of the running server",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.selftest() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "relay",
		Short: "Try to relay through the running server, without a login",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.selftestRelay() },
	})
	return cmd
}

func (a *app) selftest() error {
	office, err := a.openForTest()
	if err != nil {
		return err
	}
	defer office.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	tested, failed := 0, 0
	err = selftest.Run(ctx, office, func(r selftest.Result) {
		tested++
		if r.Err == nil {
			fmt.Fprintf(a.stdout, "PASS  %-10s %-16s %s\n", r.Service, r.Address, r.What)
			return
		}
		failed++
		fmt.Fprintf(a.stdout, "FAIL  %-10s %-16s %s: %v\n", r.Service, r.Address, r.What, r.Err)
		var hinted *admin.HintError
		if errors.As(r.Err, &hinted) {
			fmt.Fprintf(a.stdout, "      %s\n", hinted.Hint)
		}
	})
	switch {
	case err != nil:
		return err
	case tested == 0:
		return admin.Hint(errors.New("no listener is on"), "[listen] in the configuration is empty")
	case failed > 0:
		return fmt.Errorf("%d of %d listeners failed", failed, tested)
	}
	return nil
}

// openForTest opens the data directory beside the running server. A test makes a mailbox for itself
// on the files, because no verb makes one that leaves no trace.
func (a *app) openForTest() (*admin.Service, error) {
	s, err := a.open(nil)
	if err != nil {
		return nil, err
	}
	actor := a.actor
	actor.Act = "selftest"
	return s.For(admin.Caller{Actor: actor, Tell: a.tell}), nil
}

func (a *app) selftestRelay() error {
	office, err := a.openForTest()
	if err != nil {
		return err
	}
	defer office.Close()
	return a.testRelay(office)
}

func (a *app) testRelay(office *admin.Service) error {
	open, tested := 0, 0
	err := selftest.Relay(context.Background(), office, func(r selftest.RelayResult) {
		tested++
		switch {
		case r.Err != nil:
			open++
			fmt.Fprintf(a.stdout, "FAIL  %-10s %-16s %v\n", r.Service, r.Address, r.Err)
		case len(r.Open) > 0:
			open++
			fmt.Fprintf(a.stdout, "OPEN  %-10s %-16s %d of %d tricks got through: %s\n", r.Service, r.Address, len(r.Open), r.Tried, strings.Join(r.Open, "; "))
		default:
			fmt.Fprintf(a.stdout, "PASS  %-10s %-16s none of %d tricks got through%s\n", r.Service, r.Address, r.Tried, undecidedText(r.Undecided))
		}
	})
	switch {
	case err != nil:
		return err
	case tested == 0:
		return admin.Hint(errors.New("no listener takes mail"), "[listen] in the configuration")
	case open > 0:
		return admin.Hint(fmt.Errorf("%d of %d listeners failed", open, tested), "'pillarbox admin explain --ip 127.0.0.1 --to x@relay-test.invalid' says why")
	}
	return nil
}

// undecidedText names the tricks that the server put off, since it could not look the recipient up.
func undecidedText(tricks []string) string {
	if len(tricks) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d got 451, neither taken nor refused: %s", len(tricks), strings.Join(tricks, "; "))
}
