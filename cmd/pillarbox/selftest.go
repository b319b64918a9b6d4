package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/ops"
	"pillarbox/cmd/internal/selftest"
)

func (a *app) selftestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "selftest",
		Short: "Send and fetch a message through every listener of the running server",
		Args:  takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.selftest() },
	}
}

func (a *app) selftest() error {
	office, err := a.office()
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
		var hinted *ops.HintError
		if errors.As(r.Err, &hinted) {
			fmt.Fprintf(a.stdout, "      %s\n", hinted.Hint)
		}
	})
	switch {
	case err != nil:
		return err
	case tested == 0:
		return ops.Hint(errors.New("no listener is on"), "[listen] in the configuration is empty")
	case failed > 0:
		return fmt.Errorf("%d of %d listeners failed", failed, tested)
	}
	return nil
}
