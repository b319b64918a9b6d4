package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/doctor"
	"pillarbox/cmd/internal/doctor/checks"
	"pillarbox/smtp/dns"
	"pillarbox/tls/certs"
)

// doctorFlags are the flags of 'doctor'.
type doctorFlags struct {
	offline, all, asJSON bool
	skip                 []string
	watch                time.Duration // 0: once
}

const (
	leastWatch = 5 * time.Second
	// rareAgain is the time after which watching repeats the rare checks.
	rareAgain = time.Hour
)

func (a *app) doctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use: "doctor",
		Short: "Check the server, its machine and its surroundings, and say how to mend what " +
			"is wrong",
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if f.watch > 0 {
				return a.watchDoctor(ctx, f)
			}
			return a.doctorOnce(ctx, f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.offline, "offline", false,
		"ask no server on the network: no DNS, no smart host")
	flags.BoolVar(&f.all, "all", false, "list the checks without a problem too")
	flags.StringSliceVar(&f.skip, "skip", nil,
		"leave out the `check` with this name; may be repeated")
	flags.DurationVar(&f.watch, "watch", 0,
		"repeat until interrupted, and print only changes; --watch=5m sets the interval")
	flags.Lookup("watch").NoOptDefVal = "60s"
	addJSON(cmd, &f.asJSON)
	cmd.Long = `Check the configuration, files, ports, clock, disk, certificate, DNS, relaying, the smart
host, passwords, old clients, quotas and the queue. Each problem says why it matters and how
to mend it. No mail and no setting is changed. Run it as root.

The exit status is 0 if all is well, 1 if there are warnings, and 2 if there are errors. Wrong
usage is 2 too. The result is kept in doctor.json in the data directory.

The names of the checks are: ` + strings.Join(checks.Names(), ", ") + "."
	return cmd
}

// check refuses flags that make no sense.
func (f *doctorFlags) check(cmd *cobra.Command) error {
	for _, name := range f.skip {
		if !slices.Contains(checks.Names(), name) {
			return misuse(cmd, fmt.Sprintf("--skip %q: there is no such check; --help lists them",
				name))
		}
	}
	if cmd.Flags().Changed("watch") && f.watch < leastWatch {
		return misuse(cmd, fmt.Sprintf("--watch %s is shorter than %s", f.watch, leastWatch))
	}
	return nil
}

func (a *app) doctorOnce(ctx context.Context, f doctorFlags) error {
	report, err := a.examine(ctx, f, nil)
	if err != nil {
		return err
	}
	if f.asJSON {
		err = a.writeJSON(newDoctorReport(report))
	} else {
		a.printDoctor(report, f.all)
	}
	return errors.Join(err, doctorError(report.Counts()))
}

// doctorError returns the exit status of a report as an error; nil for 0.
func doctorError(n doctor.Counts) error {
	switch code := n.ExitCode(); code {
	case 0:
		return nil
	case 1:
		return exitf(code, "", "there are warnings, and no errors")
	default:
		return exitf(code, "", "there are errors")
	}
}

// watchDoctor repeats the checks until ctx ends. It prints the problems at first, then changes.
func (a *app) watchDoctor(ctx context.Context, f doctorFlags) error {
	var before doctor.Report
	var rare time.Time // when the rare checks were done
	for {
		keep := before.Results
		if now := time.Now(); now.Sub(rare) >= rareAgain {
			keep, rare = nil, now
		}
		report, err := a.examine(ctx, f, keep)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.printChanges(report, before, f.asJSON); err != nil {
			return err
		}
		before = report
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(f.watch):
		}
	}
}

// examine does the checks, except the rare ones with a result in keep, and stores the report.
func (a *app) examine(
	ctx context.Context, f doctorFlags, keep []doctor.Result,
) (doctor.Report, error) {
	e := a.doctorEnv(f.offline)
	if e.Data != nil {
		defer e.Data.Close()
	}
	report := doctor.Run(ctx, checks.List(e), doctor.Options{Skip: f.skip, Keep: keep}, e.Now())
	if ctx.Err() != nil {
		return report, ctx.Err()
	}
	if e.Data != nil {
		if err := doctor.Save(e.Data.Root, report); err != nil {
			a.note("the result was not kept: %v", err)
		}
	}
	return report, nil
}

// doctorEnv opens what the checks look at.
func (a *app) doctorEnv(offline bool) *checks.Env {
	e := &checks.Env{Machine: checks.ThisMachine(), Offline: offline, Now: time.Now,
		Server: a.doctorServer()}
	if e.Config, e.ConfigErr = a.load(); e.ConfigErr != nil {
		e.Config = nil
		return e
	}
	e.Resolver = dns.NewClient(admin.DNSOptions(e.Config).Servers)
	e.Policy = stsPolicy(e.Resolver)
	if e.Data, e.DataErr = a.open(e.Config); e.DataErr != nil {
		e.Data = nil
		return e
	}
	actor := a.actor
	actor.Act = "doctor"
	e.Data = e.Data.For(admin.Caller{Actor: actor})
	return e
}

// doctorServer asks the running server. What it tells beside the answer is not needed.
func (a *app) doctorServer() checks.Server {
	return checks.Server{
		TLSClients: func(ctx context.Context) ([]certs.Client, error) {
			return callTelling(ctx, a, admin.TLSClients, admin.TLSClientsQuestion{}, nil)
		},
		Queue: func(ctx context.Context, q admin.QueueQuestion) (admin.QueueListing, error) {
			found, err := callTelling(ctx, a, admin.QueueList, q, nil)
			return found.Listing, err
		},
		TestRoute: func(ctx context.Context, q admin.RouteQuestion) (admin.RouteReport, error) {
			return callTelling(ctx, a, admin.RouteTest, q, nil)
		},
	}
}

// doctorReport is the JSON of 'doctor'.
type doctorReport struct {
	doctor.Report
	Counts   doctor.Counts `json:"counts"`
	ExitCode int           `json:"exit_code"`
}

func newDoctorReport(r doctor.Report) doctorReport {
	return doctorReport{r, r.Counts(), r.Counts().ExitCode()}
}

// printDoctor prints the problems in full, a table of the other findings with all, and the counts.
func (a *app) printDoctor(r doctor.Report, all bool) {
	lines := []string{"CHECK\tSTATE\tFOUND"}
	for _, result := range r.Results {
		for _, f := range result.Findings {
			if f.Severity.Problem() {
				a.printFinding(result.Check, result.Why, f)
				continue
			}
			lines = append(lines, fmt.Sprintf("%s\t%s\t%s", result.Check, f.Severity,
				printable(f.Message)))
		}
	}
	if all && len(lines) > 1 {
		a.align(lines)
	}
	fmt.Fprintln(a.stdout, r.Counts())
}

func (a *app) printFinding(check, why string, f doctor.Finding) {
	fmt.Fprintf(a.stdout, "%s  %s: %s\n", strings.ToUpper(string(f.Severity)), check,
		printable(f.Message))
	fmt.Fprintf(a.stdout, "  why: %s\n", why)
	if f.Fix != "" {
		fmt.Fprintf(a.stdout, "  fix: %s\n", printable(f.Fix))
	}
}

// printChanges prints what has come and gone since the report before, each with the time.
func (a *app) printChanges(r, before doctor.Report, asJSON bool) error {
	changes := doctor.Compare(before, r)
	if len(changes) == 0 && !before.Time.IsZero() {
		return nil
	}
	if asJSON {
		return a.writeJSON(doctorChanges{r.Time, changes, r.Counts()})
	}
	fmt.Fprintf(a.stdout, "%s  %s\n", localTime(r.Time), r.Counts())
	for _, c := range changes {
		if c.Gone {
			fmt.Fprintf(a.stdout, "GONE  %s: %s\n", c.Check, printable(c.Message))
			continue
		}
		a.printFinding(c.Check, c.Why, c.Finding)
	}
	return nil
}

// doctorChanges is the JSON of 'doctor --watch' after a change.
type doctorChanges struct {
	Time    time.Time       `json:"time"`
	Changes []doctor.Change `json:"changes"`
	Counts  doctor.Counts   `json:"counts"`
}
