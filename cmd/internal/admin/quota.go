package admin

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
)

// limitsAt, usage, stampAt and members are the methods that the quota ledger calls.

// limitsAt returns the effective limits of a mailbox, by its directory, and of its domain.
func (o *Service) limitsAt(dir string) (box, domain quota.Limits, err error) {
	m, err := o.Dir.MailboxAt(dir)
	if err != nil {
		return box, domain, err
	}
	return o.limitsOf(m), o.domainLimits(m.DomainLimits), nil
}

// usage counts the mail of a mailbox; zero for a removed one.
func (o *Service) usage(dir string) (quota.Usage, error) {
	held, err := o.Store.Stat(dir)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return quota.Usage{}, nil
	}
	return quota.Usage{Bytes: held.Bytes, Messages: int64(held.Messages)}, err
}

// stampAt returns a stamp of the directory of a mailbox or a domain. A change gives the directory a
// new stamp. settled is false if a change within the next moments might not.
func (o *Service) stampAt(dir string) (stamp any, settled bool) {
	now := time.Now()
	info, err := o.Root.Lstat(dir)
	if err != nil {
		return nil, false
	}
	s, ok := durable.StampOf(info)
	return s, ok && s.Settled(now)
}

func (o *Service) members(domainDir string) ([]string, error) {
	d, err := o.Dir.DomainAt(domainDir)
	if err != nil {
		return nil, err
	}
	return o.Dir.MailboxDirs(d)
}

// limitsOf returns the effective limits of a mailbox: its own, or the defaults.
func (o *Service) limitsOf(box directory.Mailbox) quota.Limits {
	m := &o.Config().Mailboxes
	octets := m.DefaultQuota
	if box.Account.Quota == 0 {
		octets = cmp.Or(o.Dir.PersonQuota(box), octets)
	}
	return limits(box.Account.Limits, octets, int64(m.DefaultMessages), m.DefaultWarning)
}

// domainLimits returns the effective limits for all mailboxes of a domain together. Only the
// warning has a default.
func (o *Service) domainLimits(own directory.Limits) quota.Limits {
	return limits(own, 0, 0, o.Config().Mailboxes.DefaultWarning)
}

func limits(own directory.Limits, octets, messages int64, warning int) quota.Limits {
	l := quota.Limits{Bytes: ownOr(own.Quota, octets), Messages: ownOr(own.MaxMessages, messages)}
	l.WarnBytes = own.Warn.Of(l.Bytes, warning)
	l.WarnMessages = own.WarnMessages.Of(l.Messages, warning)
	return l
}

// ownOr converts a limit of directory.Limits: 0 means the default, and a negative one no limit.
func ownOr(own, byDefault int64) int64 {
	switch {
	case own > 0:
		return own
	case own < 0:
		return 0
	}
	return byDefault
}

// QuotaChange is a change of limits, in the form of the command line. "" leaves a limit unchanged.
type QuotaChange struct {
	Size         string // "100MB", "none" or "default"
	Messages     string // "5000", "none" or "default"
	Warn         string // "90MB", "90%", "none" or "default"
	WarnMessages string // "4500", "90%", "none" or "default"
}

// SetQuota sets the size limit of a mailbox: "500MB", "none", or "default" for that of the
// configuration.
func (o *Service) SetQuota(user, size string) (Change, error) {
	octets, err := parseQuota(size)
	if err != nil {
		return Change{}, err
	}
	done := "has the quota " + size
	if octets < 0 {
		done = "has no quota"
	}
	return o.updateAccount(user, done, func(acc *directory.Account) error {
		acc.Quota = octets
		return o.checkLevels(o.limitsOf(directory.Mailbox{Account: *acc}))
	})
}

// QuotasToSet is the input of QuotaSet.
type QuotasToSet struct {
	Target string // a mailbox or a domain
	QuotaChange
}

func (o *Service) setQuotas(in QuotasToSet) (Change, error) {
	return o.ChangeQuota(in.Target, in.QuotaChange)
}

// ChangeQuota changes the limits of a mailbox or, if target is one, of a domain.
func (o *Service) ChangeQuota(target string, c QuotaChange) (Change, error) {
	if c == (QuotaChange{}) {
		return Change{}, Hint(errors.New("there is nothing to change"), "name a limit, such as --size 500MB, --messages 5000 or --warn 90%%")
	}
	edit, err := c.edit()
	if err != nil {
		return Change{}, err
	}
	d, isDomain, err := o.targetDomain(target, "quota list")
	if err != nil {
		return Change{}, err
	}
	var done Change
	if isDomain {
		if err := o.RequireAll(true); err != nil {
			return Change{}, err
		}
		done, err = o.changeDomain(string(d), "", func(d addr.Domain) ([]string, error) {
			return nil, o.Dir.UpdateDomain(d, func(f *directory.DomainFile) error {
				edit(&f.Limits)
				return o.checkLevels(o.domainLimits(f.Limits))
			})
		})
	} else {
		done, err = o.updateAccount(target, "", func(acc *directory.Account) error {
			edit(&acc.Limits)
			return o.checkLevels(o.limitsOf(directory.Mailbox{Account: *acc}))
		})
	}
	if err != nil {
		return Change{}, err
	}
	return o.quotaChanged(done, target)
}

// quotaChanged completes the message with the effective limits.
func (o *Service) quotaChanged(done Change, target string) (Change, error) {
	now, err := o.ShowQuota(target)
	if err != nil {
		return Change{}, err
	}
	done.Text += now.Sentence()
	if now.State == QuotaFull {
		done.Warnings = append(done.Warnings, fmt.Sprintf("it already holds %s in %s: it gets no new mail until messages are deleted",
			quota.Approximate(now.Bytes, now.Limits.Bytes), quota.FormatMessages(now.Messages)))
	}
	return done, nil
}

// targetDomain reports whether the target is a domain, not a mailbox. If it is neither, the hint of
// the error names the verb list.
func (o *Service) targetDomain(target, list string) (addr.Domain, bool, error) {
	if strings.Contains(target, "@") {
		return "", false, nil
	}
	d, err := addr.ParseDomain(target)
	if err == nil {
		hosted, err := o.Dir.Hosts(d)
		if hosted || err != nil {
			return d, hosted, err
		}
	}
	if a, err := o.ParseUser(target); err == nil {
		if _, err := o.Dir.Mailbox(a); err == nil || !errors.Is(err, directory.ErrNotFound) {
			return "", false, nil
		}
	}
	return "", false, Hint(fmt.Errorf("%s: %w, neither as a domain nor as a mailbox", target, directory.ErrNotFound),
		"write name@domain or a domain; 'pillarbox admin %s' lists them", list)
}

// checkLevels returns an error if a warning level is not below its limit.
func (o *Service) checkLevels(l quota.Limits) error {
	late := func(warn, limit int64, warnText, limitText string) error {
		if limit <= 0 || warn < limit {
			return nil
		}
		return Hint(fmt.Errorf("a warning at %s would come too late for a limit of %s", warnText, limitText), "give another --warn or --warn-messages, or a percentage such as 90%%")
	}
	return errors.Join(
		late(l.WarnBytes, l.Bytes, quota.FormatSize(l.WarnBytes), quota.FormatSize(l.Bytes)),
		late(l.WarnMessages, l.Messages, quota.FormatMessages(l.WarnMessages), strconv.FormatInt(l.Messages, 10)),
	)
}

// edit parses all fields and returns the change. An error in one field prevents the whole change.
func (c QuotaChange) edit() (func(*directory.Limits), error) {
	var edits []func(*directory.Limits)
	add := func(edit func(*directory.Limits)) { edits = append(edits, edit) }
	if c.Size != "" {
		n, err := parseQuota(c.Size)
		if err != nil {
			return nil, err
		}
		add(func(l *directory.Limits) { l.Quota = n })
	}
	if c.Messages != "" {
		n, err := parseMessages(c.Messages)
		if err != nil {
			return nil, err
		}
		add(func(l *directory.Limits) { l.MaxMessages = n })
	}
	if c.Warn != "" {
		level, err := parseLevel(c.Warn, parseQuota)
		if err != nil {
			return nil, err
		}
		add(func(l *directory.Limits) { l.Warn = level })
	}
	if c.WarnMessages != "" {
		level, err := parseLevel(c.WarnMessages, parseMessages)
		if err != nil {
			return nil, err
		}
		add(func(l *directory.Limits) { l.WarnMessages = level })
	}
	return func(l *directory.Limits) {
		for _, edit := range edits {
			edit(l)
		}
	}, nil
}

// parseQuota parses a size limit into the form of directory.Limits. A number without a unit is
// refused: "100" would be 100 octets, and a mailbox that takes no message.
func parseQuota(size string) (int64, error) {
	const hint = "write a size such as 500MB, or none, or default"
	number := strings.TrimSpace(size)
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && n > 0 {
		return 0, Hint(fmt.Errorf("%q has no unit", size),
			"write %[1]sMB for megabytes, %[1]sB for bytes, or none, or default", number)
	}
	return parseLimit(size, hint, quota.ParseSize)
}

func parseMessages(number string) (int64, error) {
	return parseLimit(number, "write a number such as 5000, or none, or default", func(s string) (int64, error) {
		n, err := strconv.ParseUint(s, 10, 62)
		if err != nil {
			err = fmt.Errorf("%q is not a number of messages", number)
		}
		return int64(n), err
	})
}

func parseLimit(text, hint string, parse func(string) (int64, error)) (int64, error) {
	switch strings.ToLower(text) {
	case "default":
		return 0, nil
	case "none":
		return -1, nil
	}
	n, err := parse(text)
	if err == nil && n == 0 {
		err = errors.New("a quota of 0 would mean no limit")
	}
	return n, Hint(err, "%s", hint)
}

// parseLevel parses a percentage such as 90%, or a value for parse.
func parseLevel(text string, parse func(string) (int64, error)) (directory.Level, error) {
	if strings.HasSuffix(text, "%") {
		var level directory.Level
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return "", Hint(fmt.Errorf("%q is not a percentage of a limit", text), "write 1%% to 99%%")
		}
		return level, nil
	}
	n, err := parse(text)
	switch {
	case err != nil:
		return "", Hint(errors.Unwrap(err), "write a percentage such as 90%%, a value as for the limit, none or default")
	case n == 0:
		return "", nil
	case n < 0:
		return directory.NoLevel, nil
	}
	return directory.Level(strconv.FormatInt(n, 10)), nil
}

// QuotaDefaults returns the lines of the section [mailboxes] that set these defaults.
func QuotaDefaults(c QuotaChange) ([]string, error) {
	if c.WarnMessages != "" && c.WarnMessages != c.Warn {
		return nil, Hint(errors.New("size and messages share one default warning level"),
			"give it as a percentage, such as --warn 90%%")
	}
	edit, err := c.edit()
	if err != nil {
		return nil, err
	}
	var l directory.Limits
	edit(&l)
	var lines []string
	if c.Size != "" {
		lines = append(lines, fmt.Sprintf("default_quota = %q", quota.FormatSize(ownOr(l.Quota, 0))))
	}
	if c.Messages != "" {
		lines = append(lines, fmt.Sprintf("default_messages = %d", ownOr(l.MaxMessages, 0)))
	}
	switch {
	case c.Warn == "":
	case l.Warn == directory.NoLevel || strings.HasSuffix(string(l.Warn), "%"):
		lines = append(lines, fmt.Sprintf("default_warning = %q", l.Warn))
	case l.Warn == "":
		lines = append(lines, fmt.Sprintf("default_warning = \"%d%%\"", config.Default().Mailboxes.DefaultWarning))
	default:
		return nil, Hint(fmt.Errorf("the default warning is a percentage of each limit, but %s is a size", c.Warn), "give a percentage such as --warn 90%%")
	}
	if lines == nil {
		lines = []string{"default_quota, default_messages or default_warning"}
	}
	return lines, nil
}
