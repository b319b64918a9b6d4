package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/smtp/decisionlog"
)

func (a *app) deviceCommand() *cobra.Command {
	return family("device", "Manage machines that may send without a login, such as scanners and UPSs",
		a.deviceAddCommand(),
		doesOne(a, "remove NAME", "Remove a device", admin.DeviceRemove),
		answers(a, "list", "List the devices", takes(0, 0), admin.DeviceList, nothing,
			table("devices", "DEVICE\tADDRESSES\tMAY SEND TO\tAS\tPER HOUR", deviceRow)),
		answers(a, "show NAME", "Show a device", takes(1, 1), admin.DeviceShow, first, (*app).printDevice),
		a.deviceTestCommand(),
		a.deviceSuggestCommand(),
	)
}

func (a *app) deviceAddCommand() *cobra.Command {
	var n admin.NewDevice
	cmd := command("add NAME --ip ADDRESS|NETWORK... --may-send-to local|all [--as ADDRESS] [--per-hour N] [--allow-plaintext]",
		"Allow a machine to send without a login", takes(1, 1),
		func(cmd *cobra.Command, args []string) error {
			n.Name = args[0]
			switch {
			case len(n.IPs) == 0:
				return misuse(cmd, "--ip is missing")
			case n.MaySendTo == "":
				return misuse(cmd, "--may-send-to is missing")
			case n.PerHour < 0:
				return misuse(cmd, "--per-hour must not be negative")
			}
			return a.report(call(cmd.Context(), a, admin.DeviceAdd, n))
		})
	cmd.Flags().StringArrayVar(&n.IPs, "ip", nil, "its `address`, or a small network such as 192.168.1.48/28; may be repeated")
	cmd.Flags().StringVar(&n.MaySendTo, "may-send-to", "", "permitted `recipients`: local (the mailboxes of this server) or all")
	cmd.Flags().StringVar(&n.As, "as", "", "the `address` that replaces the sender of its mail")
	cmd.Flags().IntVar(&n.PerHour, "per-hour", 0, "the maximum `number` of recipients in an hour; 0 for no limit")
	cmd.Flags().BoolVar(&n.AllowPlaintext, "allow-plaintext", false, "allow it to log in without TLS")
	return cmd
}

func deviceRow(d admin.Device) string {
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", d.Name, networkList(d), d.MaySendTo, orDash(d.As), perHour(d.PerHour))
}

func networkList(d admin.Device) string {
	var texts []string
	for _, p := range d.Networks {
		texts = append(texts, admin.NetworkText(p))
	}
	return wordList(texts)
}

func perHour(n int) string {
	if n == 0 {
		return "no limit"
	}
	return strconv.Itoa(n)
}

func (a *app) printDevice(d admin.Device) {
	as := orDash(d.As)
	if d.As.IsZero() {
		as = "any address of this server"
	}
	a.align([]string{
		"Device:\t" + d.Name,
		"Addresses:\t" + networkList(d),
		"May send to:\t" + d.MaySendTo,
		"Sends as:\t" + as,
		"Per hour:\t" + perHour(d.PerHour),
		"Login without TLS:\t" + yesNo(d.AllowPlaintext),
	})
}

func (a *app) deviceTestCommand() *cobra.Command {
	var to string
	cmd := answers(a, "test NAME [--to ADDRESS]", "Show the server's replies to a device that sends, and the reasons", takes(1, 1), admin.DeviceTest,
		func(args []string) admin.DeviceQuestion { return admin.DeviceQuestion{Name: args[0], To: to} }, (*app).printExplanation)
	cmd.Flags().StringVar(&to, "to", "", "the `address` of the recipient (default: the local postmaster)")
	return cmd
}

// deviceSuggestCommand lists who was refused or, with an address, makes a device
// of it: the command alone on standard output, to be read and then run.
func (a *app) deviceSuggestCommand() *cobra.Command {
	var asJSON bool
	cmd := command("suggest [ADDRESS] [--json]", "List machines that were refused, or print the command that makes one of them a device", takes(0, 1),
		func(cmd *cobra.Command, args []string) error {
			out, err := call(cmd.Context(), a, admin.DeviceSuggest, first(args))
			if out.Suggestion != nil {
				return respond(a, asJSON, (*app).printSuggestion)(*out.Suggestion, err)
			}
			attempts := table("refused attempts of unknown machines", "LAST\tTIMES\tADDRESS\tFROM\tTO\tREPLY", attemptRow)
			return respond(a, asJSON, attempts)(out.Attempts, err)
		})
	cmd.Long = `List machines that were refused, or print the command that makes one of them a device.

Without an address, the command lists the latest attempts to send mail that the server
refused because the machine had not logged in and is no device.

With the address of such a machine, the command prints the 'device add' command that
permits what the machine tried. It adds nothing. Read the printed command, then run it.`
	addJSON(cmd, &asJSON)
	return cmd
}

func attemptRow(at decisionlog.Attempt) string {
	f := &at.Facts
	return fmt.Sprintf("%s\t%d\t%s\t<%s>\t%s\t%s", at.Time.Local().Format(time.DateTime), at.Times, f.Remote, f.From, orDash(f.To), at.Reply)
}

func (a *app) printSuggestion(s admin.Suggestion) {
	fmt.Fprintln(a.stdout, s.Command)
	for _, w := range s.Warnings {
		a.note("%s", w)
	}
}
