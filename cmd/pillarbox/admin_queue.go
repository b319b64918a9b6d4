package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/quota"
)

func (a *app) queueCommand() *cobra.Command {
	cmd := family("queue", "Manage the mail that waits for other servers", a.queueListCommand(), a.queueShowCommand(), a.queueActiveCommand(),
		a.quarantineCommand())
	for _, v := range queueVerbs() {
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
	name  string
	verb  admin.Verb[admin.QueueOrder, admin.QueueDone]
	short string
	done  string // "%s" is the number of messages
	asks  bool   // it cannot be undone
	all   bool   // without a choice it is done to all messages
	hint  string // why it may not have been done to a message that was named
}

func queueVerbs() []queueVerb {
	return []queueVerb{
		{"retry", admin.QueueRetry, "Try messages now, within the hours of their routes", "gave %s their turn now", false, true,
			"it is held, or being tried at this moment"},
		{"flush", admin.QueueFlush, "Try messages now, even outside their hours or held for ETRN", "let %s go now", false, true,
			"it is held, or being tried at this moment"},
		{"hold", admin.QueueHold, "Hold messages until they are released", "held %s", false, false, "it is held already"},
		{"release", admin.QueueRelease, "Release held messages; their time in the queue starts again", "released %s", false, false, "it is not held"},
		{"bounce", admin.QueueBounce, "Return messages to their senders", "gave back %s", true, false,
			"it is being tried at this moment; hold it first"},
		{"remove", admin.QueueRemove, "Remove messages without a report", "removed %s", true, false,
			"it has just left the queue"},
	}
}

const queueChoiceUse = " [ID...] [--domain D] [--to A] [--from A] [--older 2h] [--held]"

func (a *app) queueVerbCommand(v queueVerb) *cobra.Command {
	var choice queueChoice
	var yes, asJSON bool
	use := v.name + queueChoiceUse + " [--all]"
	if v.asks {
		use += " [--yes]"
	}
	cmd := command(use+" [--json]", v.short, cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		c, err := choice.check(cmd, args, v.all)
		if err != nil {
			return err
		}
		var done admin.QueueDone
		err = a.confirmed(yes, func(sure bool) (err error) {
			// The answer to a question names the messages that it is about.
			done, err = call(cmd.Context(), a, v.verb,
				admin.QueueOrder{Choice: c, Sure: sure, Confirmed: done.IDs})
			return err
		})
		if err != nil {
			return err
		}
		return a.reportQueue(v, done, asJSON)
	})
	choice.addFlags(cmd)
	cmd.Flags().BoolVar(&choice.all, "all", false, "choose all messages in the queue")
	if v.asks {
		addYes(cmd, &yes)
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) reportQueue(v queueVerb, done admin.QueueDone, asJSON bool) error {
	if asJSON {
		return a.writeJSON(struct {
			Action string `json:"action"`
			Count  int    `json:"count"`
		}{v.name, done.Count})
	}
	switch {
	case done.Count > 0:
		fmt.Fprintf(a.stdout, v.done+"\n", quota.FormatMessages(int64(done.Count)))
	case len(done.IDs) > 0:
		return admin.Hint(errors.New("nothing was done"), "%s; 'pillarbox admin queue show %s' tells more", v.hint, done.IDs[0])
	default:
		a.note("there is nothing to %s", v.name)
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

// check looks at the choice. Unless all are meant where nothing is said, something has to be.
func (c *queueChoice) check(cmd *cobra.Command, args []string, orAll bool) (admin.QueueChoice, error) {
	q := admin.QueueChoice{Words: args, Domain: c.domain, To: c.to, From: c.from, Older: c.older, Held: c.held}
	if err := lacksValue(cmd, "domain", "to", "from", "older"); err != nil {
		return q, err
	}
	chosen := len(args) > 0 || c.domain+c.to+c.from+c.older != "" || c.held
	q.All = c.all || !chosen && orAll
	switch {
	case chosen && c.all:
		return q, misuse(cmd, "--all goes with no choice")
	case !chosen && !c.all && !orAll:
		return q, admin.Hint(usageError{fmt.Errorf("%s: no message is chosen", callName(cmd))},
			"name IDs, or choose by --domain, --to, --from, --older or --held, or say --all")
	}
	return q, nil
}
