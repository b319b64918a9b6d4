// Package statistics counts the events of mail for people: how much each mailbox, domain, device or
// day received and sent.
//
// Start with New, which fixes the rows of a Table, and call Table.Add for each event. Only events of
// the mailboxes, domains and devices that New names count, so an attacker cannot make a Table grow.
package statistics

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/track"
)

// By says what a row is about.
type By string

// The values of By.
const (
	ByMailbox By = "mailbox"
	ByDomain  By = "domain"
	ByDevice  By = "device"
	ByDay     By = "day" // in local time
)

// ParseBy parses a word of the command line. "" is ByMailbox.
func ParseBy(word string) (By, error) {
	by := By(strings.ToLower(word))
	switch by {
	case "":
		return ByMailbox, nil
	case ByMailbox, ByDomain, ByDevice, ByDay:
		return by, nil
	}
	return "", fmt.Errorf("%q is none of mailbox, domain, device and day", word)
}

// Count is a number of messages and their octets.
type Count struct {
	Messages int64 `json:"messages"`
	Octets   int64 `json:"octets"`
}

func (c *Count) add(octets int64) {
	c.Messages++
	c.Octets += octets
}

// Row is what happened in a mailbox, in a domain, by a device or on a day. A message to three
// mailboxes comes in three times, and goes out once.
type Row struct {
	Name    string `json:"name"`
	In      Count  `json:"in"`      // put into mailboxes
	Out     Count  `json:"out"`     // accepted from people who logged in, devices and programs
	Fetched Count  `json:"fetched"` // by POP3
	Stored  Count  `json:"stored"`  // in mailboxes now; 0 for devices and days
	Refused int64  `json:"refused"` // commands and messages, to or from the row's name
	// LoginsFailed are failed logins.
	LoginsFailed int64 `json:"logins_failed"`
	// LastLogin is the latest login of those that are counted, Service how it came.
	LastLogin time.Time `json:"last_login,omitzero"`
	Service   string    `json:"last_login_service"`
	// Program is the latest that wrote a message that was sent, as it names itself.
	Program string `json:"program"`

	programAt time.Time
}

// maxDays is the number of days that a Table has at most.
const maxDays = 1000

// Table counts events. It is not safe for concurrent use.
type Table struct {
	by            By
	defaultDomain string
	domains       map[string]bool
	devices       map[string]bool
	rows          map[string]*Row // by the name in lower case
}

// New returns a Table of the mailboxes and devices, and of the domains. Names without a domain in
// logins belong to the default domain.
func New(by By, domains, mailboxes, devices []string, defaultDomain string) *Table {
	t := &Table{
		by: by, defaultDomain: defaultDomain, rows: make(map[string]*Row),
		domains: setOf(domains), devices: setOf(devices),
	}
	names := map[By][]string{ByMailbox: mailboxes, ByDomain: domains, ByDevice: devices}
	for _, name := range names[by] {
		t.rows[strings.ToLower(name)] = &Row{Name: name}
	}
	return t
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool)
	for _, name := range names {
		set[strings.ToLower(name)] = true
	}
	return set
}

// Kinds are the events that Add counts.
func Kinds() []track.Kind {
	return []track.Kind{track.Accepted, track.Delivered, track.Fetched, track.Refused,
		track.LoggedIn, track.LoginFailed}
}

// Add counts an event.
func (t *Table) Add(e *track.Event) {
	row := t.row(e)
	if row == nil {
		return
	}
	switch e.Kind {
	case track.Delivered:
		row.In.add(e.Size)
	case track.Accepted:
		row.Out.add(e.Size)
		if e.Text != "" && !e.Time.Before(row.programAt) {
			row.Program, row.programAt = e.Text, e.Time
		}
	case track.Fetched:
		row.Fetched.add(e.Size)
	case track.Refused:
		row.Refused++
	case track.LoginFailed:
		row.LoginsFailed++
	case track.LoggedIn:
		if !e.Time.Before(row.LastLogin) {
			row.LastLogin, row.Service = e.Time, e.Service
		}
	}
}

// row returns the row of an event; nil if it counts in none.
func (t *Table) row(e *track.Event) *Row {
	if t.by == ByDevice {
		if e.Kind == track.Accepted || e.Kind == track.Refused {
			return t.rows[strings.ToLower(e.User)]
		}
		return nil
	}
	name := strings.ToLower(t.owner(e))
	domain := name[strings.LastIndexByte(name, '@')+1:]
	switch {
	case !t.domains[domain]:
		return nil
	case t.by == ByMailbox:
		return t.rows[name]
	case t.by == ByDomain:
		return t.rows[domain]
	}
	day := e.Time.Local().Format(time.DateOnly)
	if t.rows[day] == nil && len(t.rows) < maxDays {
		t.rows[day] = &Row{Name: day}
	}
	return t.rows[day]
}

// owner returns the address of the mailbox to which an event belongs; "" for none.
func (t *Table) owner(e *track.Event) string {
	switch e.Kind {
	case track.Delivered, track.Fetched:
		return e.To
	case track.LoggedIn, track.LoginFailed:
		if !strings.Contains(e.User, "@") {
			return e.User + "@" + t.defaultDomain
		}
		return e.User
	case track.Accepted:
		return t.sender(e)
	case track.Refused:
		if from := t.sender(e); from != "" {
			return from
		}
		return e.To
	}
	return ""
}

// sender returns who sent a message, if it is known: the user who logged in, or the sender that a
// device or a program of this machine states. A stranger's word for the sender does not count.
func (t *Table) sender(e *track.Event) string {
	switch {
	case strings.Contains(e.User, "@"):
		return e.User
	case t.devices[strings.ToLower(e.User)], e.Service == "local", e.Service == "pickup":
		return e.From
	}
	return ""
}

// Row returns the row with a name; nil if there is none.
func (t *Table) Row(name string) *Row { return t.rows[strings.ToLower(name)] }

// Rows returns all rows: days in their order, others by what they store and then by their mail,
// the largest first.
func (t *Table) Rows() []Row {
	all := make([]Row, 0, len(t.rows))
	for _, row := range t.rows {
		all = append(all, *row)
	}
	slices.SortFunc(all, func(a, b Row) int {
		if t.by != ByDay {
			for _, d := range []int64{
				b.Stored.Octets - a.Stored.Octets,
				b.In.Octets + b.Out.Octets - a.In.Octets - a.Out.Octets,
			} {
				if d != 0 {
					return int(max(-1, min(1, d)))
				}
			}
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}
