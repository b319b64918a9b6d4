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
	var asJSON, relayJSON bool
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Send and fetch a message through every listener of the running server",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.selftest(asJSON) },
	}
	relay := &cobra.Command{
		Use:   "relay",
		Short: "Try to relay through the running server, without a login",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.selftestRelay(relayJSON) },
	}
	addJSON(cmd, &asJSON)
	addJSON(relay, &relayJSON)
	cmd.AddCommand(relay)
	return cmd
}

// testedListener is the JSON of 'selftest': the test of one listener.
type testedListener struct {
	Service string `json:"service"`
	Address string `json:"address"`
	Passed  bool   `json:"passed"`
	What    string `json:"what"`
	Error   string `json:"error"`
	Hint    string `json:"hint"`
}

func newTestedListener(r selftest.Result) testedListener {
	l := testedListener{Service: r.Service, Address: r.Address, Passed: r.Err == nil, What: r.What}
	if r.Err == nil {
		return l
	}
	l.Error = r.Err.Error()
	if hinted, ok := errors.AsType[*admin.HintError](r.Err); ok {
		l.Hint = hinted.Hint
	}
	return l
}

func (a *app) printTested(l testedListener) {
	if l.Passed {
		fmt.Fprintf(a.stdout, "PASS  %-10s %-16s %s\n", l.Service, l.Address, l.What)
		return
	}
	fmt.Fprintf(a.stdout, "FAIL  %-10s %-16s %s: %s\n", l.Service, l.Address, l.What, l.Error)
	if l.Hint != "" {
		fmt.Fprintf(a.stdout, "      %s\n", l.Hint)
	}
}

func (a *app) selftest(asJSON bool) error {
	office, err := a.openForTest()
	if err != nil {
		return err
	}
	defer office.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var all []testedListener
	failed := 0
	err = selftest.Run(ctx, office, func(r selftest.Result) {
		l := newTestedListener(r)
		if all = append(all, l); !l.Passed {
			failed++
		}
		if !asJSON {
			a.printTested(l)
		}
	})
	if asJSON {
		err = errors.Join(err, a.writeJSON(all))
	}
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return admin.Hint(errors.New("no listener is on"), "[listen] in the configuration is empty")
	case failed > 0:
		return fmt.Errorf("%d of %d listeners failed", failed, len(all))
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

func (a *app) selftestRelay(asJSON bool) error {
	office, err := a.openForTest()
	if err != nil {
		return err
	}
	defer office.Close()
	return a.testRelay(office, asJSON)
}

// testedRelay is the JSON of 'selftest relay': the tricks at one listener.
type testedRelay struct {
	Service   string   `json:"service"`
	Address   string   `json:"address"`
	Passed    bool     `json:"passed"`
	Tried     int      `json:"tried"`
	Open      []string `json:"open"`      // tricks that the server accepted
	Undecided []string `json:"undecided"` // tricks that the server put off
	Error     string   `json:"error"`
}

func newTestedRelay(r selftest.RelayResult) testedRelay {
	l := testedRelay{
		Service: r.Service, Address: r.Address, Passed: r.Err == nil && len(r.Open) == 0,
		Tried: r.Tried, Open: r.Open, Undecided: r.Undecided,
	}
	if r.Err != nil {
		l.Error = r.Err.Error()
	}
	return l
}

func (a *app) printRelay(l testedRelay) {
	switch {
	case l.Error != "":
		fmt.Fprintf(a.stdout, "FAIL  %-10s %-16s %s\n", l.Service, l.Address, l.Error)
	case !l.Passed:
		fmt.Fprintf(a.stdout, "OPEN  %-10s %-16s %d of %d tricks got through: %s\n",
			l.Service, l.Address, len(l.Open), l.Tried, strings.Join(l.Open, "; "))
	default:
		fmt.Fprintf(a.stdout, "PASS  %-10s %-16s none of %d tricks got through%s\n",
			l.Service, l.Address, l.Tried, undecidedText(l.Undecided))
	}
}

func (a *app) testRelay(office *admin.Service, asJSON bool) error {
	var all []testedRelay
	open := 0
	err := selftest.Relay(context.Background(), office, func(r selftest.RelayResult) {
		l := newTestedRelay(r)
		if all = append(all, l); !l.Passed {
			open++
		}
		if !asJSON {
			a.printRelay(l)
		}
	})
	if asJSON {
		err = errors.Join(err, a.writeJSON(all))
	}
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return admin.Hint(errors.New("no listener takes mail"), "[listen] in the configuration")
	case open > 0:
		return admin.Hint(fmt.Errorf("%d of %d listeners failed", open, len(all)),
			"'pillarbox admin explain --ip 127.0.0.1 --to x@relay-test.invalid' says why")
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
