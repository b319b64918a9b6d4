package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pillarbox/cmd/internal/statistics"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
)

// StatisticsQuestion asks for the mail of a time.
type StatisticsQuestion struct {
	By           string // mailbox, domain, device or day; "": mailbox
	Domain       string // "": all that the caller may see
	Since, Until time.Time
	Limit        int // rows at most; 0: all
}

// Statistics is the answer to a StatisticsQuestion.
type Statistics struct {
	By      statistics.By    `json:"by"`
	Since   time.Time        `json:"since"`
	Until   time.Time        `json:"until"`
	Rows    []statistics.Row `json:"rows"`    // the largest first; days in their order
	More    bool             `json:"more"`    // the limit left out rows
	Damaged int64            `json:"damaged"` // octets of the events that could not be read
}

// statisticsDays is the number of days that are counted without Since, with the current one.
const statisticsDays = 7

// statistics counts the stored events. An operator of single domains sees these domains.
func (o *Service) statistics(ctx context.Context, q StatisticsQuestion) (Statistics, error) {
	by, err := statistics.ParseBy(q.By)
	if err != nil {
		return Statistics{}, usage(Hint(err, "write --by mailbox, --by domain, --by device or --by day"))
	}
	if !o.Config().Events.Enabled {
		return Statistics{}, errNoEvents()
	}
	table, err := o.statisticsTable(by, q.Domain)
	if err != nil {
		return Statistics{}, err
	}
	s := Statistics{By: by, Since: q.Since, Until: q.Until}
	now := time.Now()
	if s.Since.IsZero() {
		y, m, d := now.Date()
		s.Since = time.Date(y, m, d-statisticsDays+1, 0, 0, 0, 0, time.Local)
	}
	if s.Until.IsZero() {
		s.Until = now
	}
	o.Events.Flush()
	s.Damaged, err = track.Walk(ctx, o.Root,
		track.Query{Kinds: statistics.Kinds(), Since: s.Since, Until: s.Until}, table.Add)
	s.Rows = table.Rows()
	if q.Limit > 0 && len(s.Rows) > q.Limit {
		s.Rows, s.More = s.Rows[:q.Limit], true
	}
	return s, err
}

func errNoEvents() error {
	return Hint(errors.New("no events of mail are stored"),
		"set events.enabled = true in the configuration and restart the server")
}

// statisticsTable returns an empty table of what the caller may see, with the sizes of mailboxes.
// Devices belong to no domain, so only a caller who may see everything sees their mail.
func (o *Service) statisticsTable(by statistics.By, domain string) (*statistics.Table, error) {
	if by == statistics.ByDevice {
		if domain != "" {
			return nil, usage(Hint(errors.New("a device belongs to no domain"), "leave out --domain"))
		}
		if err := o.RequireAll(false); err != nil {
			return nil, err
		}
	}
	var devices []string
	if o.RequireAll(false) == nil {
		all, err := o.ListDevices()
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			devices = append(devices, d.Name)
		}
	}
	found, err := o.domains(domain)
	if err != nil {
		return nil, err
	}
	domains := make([]string, len(found))
	for i, d := range found {
		domains[i] = string(d)
	}
	boxes, err := eachMailbox(o, domain, func(b directory.Mailbox) (directory.Mailbox, error) { return b, nil })
	if err != nil {
		return nil, err
	}
	names := make([]string, len(boxes))
	for i, b := range boxes {
		names[i] = b.Address.String()
	}
	table := statistics.New(by, domains, names, devices, string(o.Dir.DefaultDomain()))
	o.addSizes(table, by, boxes)
	return table, nil
}

// addSizes adds to the rows what is stored now. A mailbox that cannot be counted is told as a note.
func (o *Service) addSizes(table *statistics.Table, by statistics.By, boxes []directory.Mailbox) {
	for _, b := range boxes {
		name := b.Address.String()
		if by == statistics.ByDomain {
			name = string(b.Address.Domain)
		}
		row := table.Row(name)
		if row == nil {
			continue
		}
		used, err := o.usage(b.Dir)
		if err != nil {
			o.note("%s", fmt.Errorf("the mail of %s cannot be counted: %w", b.Address, err))
		}
		row.Stored.Messages += used.Messages
		row.Stored.Octets += used.Bytes
	}
}
