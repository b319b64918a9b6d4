package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/smtp/queue"
)

func (a *app) queueCommand() *cobra.Command {
	cmd := family("queue", "Mail that waits to be sent to other servers", a.queueListCommand(), a.queueShowCommand(), a.queueActiveCommand(),
		a.quarantineCommand())
	for _, v := range queueVerbs {
		cmd.AddCommand(a.queueVerbCommand(v))
	}
	cmd.Long = `Mail that waits to be sent to other servers.

A message is named by its ID, the beginning of it, or its last 8 digits. Several
can be chosen by their recipients that still wait (--domain, --to), their sender
(--from), their age (--older 2h) and whether they are held (--held); what is given
together must all be true.

retry gives messages their turn now, as far as the hours of their routes permit,
and flush whatever the hour, and what is kept for ETRN too. hold keeps messages
back until release; they are not given up meanwhile. bounce gives them back to
their senders, and remove deletes them without a report.

quarantine has the messages that the server could not understand. A message that
a newer release wrote stays in the queue as it is; no verb changes it.`
	return cmd
}

// queueVerb is something that can be done to messages in the queue.
type queueVerb struct {
	action queue.Action
	short  string
	done   string // "%s" is how many messages
	ask    string // likewise, before it is done to more than one; "": it can be undone
	all    bool   // is meant where nothing is chosen
	hint   string // why nothing may have been done to a message that was named
}

var queueVerbs = []queueVerb{
	{queue.Retry, "Try messages now, as far as the hours of their routes permit", "gave %s their turn now", "", true,
		"it is held, or being tried at this moment"},
	{queue.Flush, "Send messages now, out of hours and from what is kept for ETRN too", "let %s go now", "", true,
		"it is held, or being tried at this moment"},
	{queue.Hold, "Keep messages back until they are released", "held %s", "", false, "it is held already"},
	{queue.Release, "Let messages go that are held; their time begins anew", "released %s", "", false, "it is not held"},
	{queue.Bounce, "Give messages back to their senders", "gave back %s", "Give %s back to the senders?", false,
		"it is being tried at this moment; hold it first"},
	{queue.Remove, "Delete messages without telling anybody", "removed %s", "Remove %s from the queue, without a word to anybody?", false,
		"it has just left the queue"},
}

const queueChoiceUse = " [ID...] [--domain D] [--to A] [--from A] [--older 2h] [--held]"

// queuePatience is for 100,000 messages on a slow disk.
const queuePatience = 30 * time.Minute

func (a *app) queueVerbCommand(v queueVerb) *cobra.Command {
	var choice queueChoice
	var yes, asJSON bool
	use := string(v.action) + queueChoiceUse + " [--all]"
	if v.ask != "" {
		use += " [--yes]"
	}
	cmd := a.verb(use+" [--json]", v.short, cobra.ArbitraryArgs, func(cmd *cobra.Command, o *admin.Service, args []string) error {
		f, err := choice.filter(cmd, o, args, v.all)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), queuePatience)
		defer cancel()
		if v.ask != "" {
			if err := a.confirmQueue(ctx, o, f, v.ask, yes); err != nil {
				return err
			}
		}
		count, err := daemon.AskQueueDo(ctx, o.Config().Data, daemon.QueueOrder{Action: v.action, Filter: f})
		if err != nil {
			return newerHint(onlyRunning(err), f)
		}
		return a.reportQueue(v, f, count, asJSON)
	})
	choice.addFlags(cmd)
	cmd.Flags().BoolVar(&choice.all, "all", false, "all messages in the queue")
	if v.ask != "" {
		addYes(cmd, &yes)
	}
	addJSON(cmd, &asJSON)
	return cmd
}

// onlyRunning adds what to do when there is no server to ask.
func onlyRunning(err error) error {
	if errors.Is(err, daemon.ErrNotRunning) {
		return admin.Hint(err, "only a running server can do this; 'pillarbox serve' starts it")
	}
	return err
}

// confirmQueue asks before something is done to more than one message that cannot be undone.
func (a *app) confirmQueue(ctx context.Context, o *admin.Service, f queue.Filter, question string, yes bool) error {
	if yes {
		return nil
	}
	found, err := daemon.AskQueue(ctx, o.Config().Data, daemon.QueueQuestion{Filter: f, Limit: 1})
	if err != nil || found.Count == 0 || found.Count == 1 && len(f.IDs) > 0 {
		return newerHint(onlyRunning(err), f)
	}
	return a.confirm(false, fmt.Sprintf(question, quota.FormatMessages(int64(found.Count))))
}

func (a *app) reportQueue(v queueVerb, f queue.Filter, count int, asJSON bool) error {
	if asJSON {
		return a.writeJSON(struct {
			Action queue.Action `json:"action"`
			Count  int          `json:"count"`
		}{v.action, count})
	}
	switch {
	case count > 0:
		fmt.Fprintf(a.stdout, v.done+"\n", quota.FormatMessages(int64(count)))
	case len(f.IDs) > 0:
		return admin.Hint(errors.New("nothing was done"), "%s; 'pillarbox admin queue show %s' tells more", v.hint, f.IDs[0])
	default:
		a.note("there is nothing to %s", v.action)
	}
	return nil
}

// queueChoice are the flags that choose messages, as typed.
type queueChoice struct {
	domain, to, from, older string
	held, all               bool
}

func (c *queueChoice) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.domain, "domain", "", "only those that wait for recipients in this `domain`")
	flags.StringVar(&c.to, "to", "", "only those that wait for this recipient, an `address`")
	flags.StringVar(&c.from, "from", "", "only those of this sender, an `address`")
	flags.StringVar(&c.older, "older", "", "only those that arrived at least this `time` ago, such as 2h, 90m or 3d")
	flags.BoolVar(&c.held, "held", false, "only those that are held")
}

// check looks at the choice. Unless all are meant where nothing is said, something has to be.
func (c *queueChoice) check(cmd *cobra.Command, args []string, orAll bool) (admin.QueueChoice, error) {
	q := admin.QueueChoice{Words: args, Domain: c.domain, To: c.to, From: c.from, Older: c.older, Held: c.held}
	if err := lacksValue(cmd, "domain", "to", "from", "older"); err != nil {
		return q, err
	}
	chosen := len(args) > 0 || c.domain+c.to+c.from+c.older != "" || c.held
	switch {
	case chosen && c.all:
		return q, misuse(cmd, "--all goes with no choice")
	case !chosen && !c.all && !orAll:
		return q, admin.Hint(usageError{fmt.Errorf("%s: no message is chosen", callName(cmd))},
			"name IDs, or choose by --domain, --to, --from, --older or --held, or say --all")
	}
	return q, nil
}

// filter is for the verbs that are not converted.
func (c *queueChoice) filter(cmd *cobra.Command, o *admin.Service, args []string, orAll bool) (queue.Filter, error) {
	q, err := c.check(cmd, args, orAll)
	if err != nil {
		return queue.Filter{}, err
	}
	return o.QueueFilter(q)
}

func parseQueueAddress(o *admin.Service, flag, text string) (addr.Address, error) {
	if text == "" {
		return addr.Address{}, nil
	}
	address, err := o.ParseUser(text)
	if err != nil {
		return address, admin.Hint(usageError{fmt.Errorf("--%s: %w", flag, err)}, "write it like anna@partner.example")
	}
	return address, nil
}

var parseAge = admin.ParseAge
