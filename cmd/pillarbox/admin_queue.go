package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/smtp/queue"
)

func (a *app) queueCommand() *cobra.Command {
	cmd := family("queue", "Manage the mail that waits for other servers", a.queueListCommand(), a.queueShowCommand(), a.queueActiveCommand(),
		a.quarantineCommand())
	for _, v := range queueVerbs {
		cmd.AddCommand(a.queueVerbCommand(v))
	}
	cmd.Long = `Manage the mail that waits for other servers.

Name a message by its ID, the beginning of its ID, or its last 8 digits. Choose several
messages by a waiting recipient (--domain, --to), their sender (--from), their age
(--older 2h), or because they are held (--held). A message must match all of these.

retry tries messages now, within the hours of their routes. flush also tries them outside
these hours, and those that are held for ETRN. hold keeps messages until release; they do
not expire meanwhile. bounce returns messages to their senders. remove deletes messages
without a report.

quarantine contains messages that the server could not parse. A message of a newer
release stays in the queue unchanged, and these commands refuse to change it.`
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
	{queue.Retry, "Try messages now, within the hours of their routes", "gave %s their turn now", "", true,
		"it is held, or being tried at this moment"},
	{queue.Flush, "Try messages now, even outside their hours or held for ETRN", "let %s go now", "", true,
		"it is held, or being tried at this moment"},
	{queue.Hold, "Hold messages until they are released", "held %s", "", false, "it is held already"},
	{queue.Release, "Release held messages; their time in the queue starts again", "released %s", "", false, "it is not held"},
	{queue.Bounce, "Return messages to their senders", "gave back %s", "Return %s to the senders?", false,
		"it is being tried at this moment; hold it first"},
	{queue.Remove, "Remove messages without a report", "removed %s", "Remove %s from the queue without a report?", false,
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
	cmd.Flags().BoolVar(&choice.all, "all", false, "choose all messages in the queue")
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
	flags.StringVar(&c.domain, "domain", "", "only messages with a waiting recipient in this `domain`")
	flags.StringVar(&c.to, "to", "", "only messages with this waiting recipient, an `address`")
	flags.StringVar(&c.from, "from", "", "only messages from this sender, an `address`")
	flags.StringVar(&c.older, "older", "", "only messages that arrived at least this `time` ago, such as 2h, 90m or 3d")
	flags.BoolVar(&c.held, "held", false, "only held messages")
}

// filter reads the choice. Unless all are meant where nothing is said, something has to be.
func (c *queueChoice) filter(cmd *cobra.Command, o *admin.Service, args []string, orAll bool) (f queue.Filter, err error) {
	for _, name := range []string{"domain", "to", "from", "older"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
			return f, misuse(cmd, "--"+name+" lacks its value")
		}
	}
	chosen := len(args) > 0 || c.domain+c.to+c.from+c.older != "" || c.held
	switch {
	case chosen && c.all:
		return f, misuse(cmd, "--all goes with no choice")
	case !chosen && !c.all && !orAll:
		return f, admin.Hint(usageError{fmt.Errorf("%s: no message is chosen", callName(cmd))},
			"name IDs, or choose by --domain, --to, --from, --older or --held, or say --all")
	}
	if f, err = c.parse(o); err != nil {
		return f, err
	}
	if len(args) > 0 {
		f.IDs, err = o.QueueIDs(args)
	}
	return f, err
}

func (c *queueChoice) parse(o *admin.Service) (f queue.Filter, err error) {
	f.Held = c.held
	if c.domain != "" {
		if f.Domain, err = addr.ParseDomain(c.domain); err != nil {
			return f, admin.Hint(usageError{fmt.Errorf("--domain %q: %w", c.domain, err)}, "write it like partner.example")
		}
	}
	if f.To, err = parseQueueAddress(o, "to", c.to); err != nil {
		return f, err
	}
	if f.Null = c.from == "<>"; !f.Null {
		if f.From, err = parseQueueAddress(o, "from", c.from); err != nil {
			return f, err
		}
	}
	f.Older, err = parseAge(c.older)
	return f, err
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

// maxAge is older than any message in a queue.
const maxAge = 10 * 365 * 24 * time.Hour

// parseAge reads a time as in "2h" and, beyond what Go knows, "3d".
func parseAge(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	age, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		age = time.Duration(min(n, maxAge.Hours()) * float64(24*time.Hour))
	}
	if err != nil || age <= 0 || age > maxAge {
		return 0, admin.Hint(usageError{fmt.Errorf("--older %q is not a time", text)}, "write it like 90m, 2h or 3d")
	}
	return age, nil
}
