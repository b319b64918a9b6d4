package admin

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

// QueueWait is a word for what a message in the queue waits for.
type QueueWait string

// The words. Of those that can be true together, the first one here counts.
const (
	WaitDelivered   QueueWait = "delivered"   // of one recipient: for the others
	WaitFailed      QueueWait = "failed"      // of one recipient: likewise
	WaitTrying      QueueWait = "trying"      // an attempt is under way
	WaitHeld        QueueWait = "held"        // until an administrator releases it
	WaitKept        QueueWait = "kept"        // until its server asks for it (ETRN, ATRN)
	WaitUnreachable QueueWait = "unreachable" // until its destination, which could not be reached, is tried again
	WaitHours       QueueWait = "hours"       // until mail may leave for there
	WaitNext        QueueWait = "next try"
	WaitTurn        QueueWait = "turn" // it is due
	WaitReport      QueueWait = "report"
)

// QueueState is where a message, or one recipient of it, stands.
type QueueState struct {
	Wait   QueueWait `json:"wait"`
	Server string    `json:"server,omitempty"` // that is waited for, or its domain
	Until  time.Time `json:"until,omitzero"`   // zero where nothing happens by itself
}

// QueuedMessage is a message in the queue and where it stands.
type QueuedMessage struct {
	ID string `json:"id"`
	*queue.Item
	State  QueueState   `json:"state"`
	States []QueueState `json:"states"` // parallel to the recipients
}

// Foremost is the recipient that the message's state is about.
func (m *QueuedMessage) Foremost() *queue.Recipient {
	return &m.To[max(slices.Index(m.States, m.State), 0)]
}

// QueueView tells where messages stand. Active and Destinations are what the running server says; without one they are
// empty.
type QueueView struct {
	Routes       *route.Table
	Active       []queue.Active
	Destinations []queue.Destination
	Now          time.Time
}

// Look tells where a message stands.
func (v *QueueView) Look(it *queue.Item) QueuedMessage {
	m := QueuedMessage{ID: it.ID, Item: it}
	for i := range it.To {
		m.States = append(m.States, v.recipient(it, &it.To[i]))
	}
	m.State = slices.MinFunc(m.States, func(a, b QueueState) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.Until.Compare(b.Until))
	})
	return m
}

// rank orders states by what a person wants to hear first of a message.
func (s QueueState) rank() int {
	switch s.Wait {
	case WaitTrying:
		return 0
	case WaitHeld:
		return 1
	case WaitTurn:
		return 2
	case WaitNext, WaitUnreachable, WaitHours:
		if !s.Until.IsZero() {
			return 3
		}
		return 4
	case WaitKept:
		return 5
	case WaitReport:
		return 6
	}
	return 7
}

func (v *QueueView) recipient(it *queue.Item, r *queue.Recipient) QueueState {
	way := v.Routes.For(r.Address.Domain)
	switch {
	case r.PendingDSN != "" && r.Done != "":
		return QueueState{Wait: WaitReport}
	case r.Done != "":
		return QueueState{Wait: QueueWait(r.Done)}
	case v.trying(it.ID, r):
		return QueueState{Wait: WaitTrying}
	case it.Held:
		return QueueState{Wait: WaitHeld}
	case way.Hold:
		return QueueState{Wait: WaitKept, Server: string(r.Address.Domain)}
	}
	due, key := r.Next, way.Destination(r.Address.Domain)
	d := v.destination(key)
	if d != nil && d.NotBefore.After(due) {
		due = d.NotBefore
	}
	if due.Before(v.Now) {
		due = v.Now
	}
	switch opens := way.Windows.Next(due); {
	case d != nil && d.Failures > 0:
		return QueueState{Wait: WaitUnreachable, Server: DestinationText(v.Routes, key), Until: opens}
	case !opens.Equal(due):
		return QueueState{Wait: WaitHours, Until: opens}
	case due.After(v.Now):
		return QueueState{Wait: WaitNext, Until: due}
	}
	return QueueState{Wait: WaitTurn}
}

func (v *QueueView) trying(id string, r *queue.Recipient) bool {
	return slices.ContainsFunc(v.Active, func(a queue.Active) bool {
		return a.ID == id && slices.Contains(a.To, r.Address.String())
	})
}

func (v *QueueView) destination(key string) *queue.Destination {
	i := slices.IndexFunc(v.Destinations, func(d queue.Destination) bool { return d.Key == key })
	if i < 0 {
		return nil
	}
	return &v.Destinations[i]
}

// Concern leaves of the destinations those that the messages wait for.
func (v *QueueView) Concern(messages []QueuedMessage) []queue.Destination {
	wanted := make(map[string]bool)
	for _, m := range messages {
		for i := range m.To {
			if r := &m.To[i]; r.Done == "" {
				wanted[destinationKey(v.Routes, r.Address.Domain)] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(v.Destinations), func(d queue.Destination) bool { return !wanted[d.Key] })
}

// destinationKey is where mail for a domain waits; what is kept waits by domain.
func destinationKey(routes *route.Table, domain addr.Domain) string {
	way := routes.For(domain)
	key := way.Destination(domain)
	if way.Hold {
		key += keptFor + string(domain)
	}
	return key
}

const keptFor = " for "

// DestinationText is a destination in words: the domain, or the smart host of a route.
func DestinationText(routes *route.Table, key string) string {
	if _, domain, kept := strings.Cut(key, keptFor); kept {
		return domain
	}
	name, smart := strings.CutPrefix(key, "route:")
	if !smart {
		return key
	}
	all := append([]route.Route{routes.Default}, routes.Routes...)
	i := slices.IndexFunc(all, func(r route.Route) bool { return r.Name == name })
	if i < 0 {
		return name
	}
	return hostList(&all[i])
}

func hostList(r *route.Route) string {
	var hosts []string
	for _, h := range r.SmartHost {
		hosts = append(hosts, h.String())
	}
	return strings.Join(hosts, ", ")
}

// QueueIDs finds the messages in the queue that words name: each by its ID, the beginning of it, with or without "P3_",
// or at least its last 8 digits.
func (o *Service) QueueIDs(words []string) ([]string, error) {
	all, _, err := o.Store.Spool().List(false)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, word := range words {
		var found []string
		for _, id := range all {
			if namesID(word, id) {
				found = append(found, id)
			}
		}
		switch len(found) {
		case 0:
			return nil, Hint(fmt.Errorf("there is no message %.60q in the queue", word),
				"'pillarbox admin queue list' shows what there is; of what has left, the log tells")
		case 1:
			ids = append(ids, found[0])
		default:
			return nil, Hint(fmt.Errorf("%.60q is the ID of %d messages", word, len(found)),
				"write more of it: %s, %s, ...", found[0], found[1])
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(ids))), nil
}

const idPrefix, idEnd = "P3_", 8

func namesID(word, id string) bool {
	digits := strings.TrimPrefix(id, idPrefix)
	bare := strings.TrimPrefix(strings.ToUpper(word), idPrefix)
	return bare != "" && (strings.HasPrefix(digits, bare) || len(bare) >= idEnd && strings.HasSuffix(digits, bare))
}

// LeftOut are the messages in the queue that ReadQueue cannot show.
type LeftOut struct {
	Damaged int      // their states cannot be understood
	Newer   []string // IDs: a newer release wrote their states
}

// ReadQueue reads what lies in the queue while no server runs: the messages that f chooses, oldest first, at most limit
// of them (0: all), how many there are, and which are left out.
func (o *Service) ReadQueue(f queue.Filter, limit int, now time.Time) (items []*queue.Item, count int, out LeftOut, err error) {
	spool := o.Store.Spool()
	ids, _, err := spool.List(false)
	if err != nil {
		return nil, 0, out, err
	}
	if reflect.DeepEqual(f, queue.Filter{}) && limit > 0 && len(ids) > limit { // nobody reads 100,000 files to see a page
		count, ids = len(ids)-limit, ids[:limit]
	}
	for _, id := range ids {
		if len(f.IDs) > 0 && !slices.Contains(f.IDs, id) {
			continue
		}
		state, err := spool.State(id)
		if errors.Is(err, mailstore.ErrNotSpooled) {
			continue
		} else if err != nil && !errors.Is(err, mailstore.ErrDamaged) {
			return nil, 0, out, err
		}
		it, err := queue.Decode(id, state)
		if newer, ok := errors.AsType[*queue.NewerError](err); ok && len(f.IDs) > 0 {
			return nil, 0, out, newer
		} else if ok {
			out.Newer = append(out.Newer, id)
			continue
		}
		if err != nil {
			out.Damaged++
			continue
		}
		if !f.Chooses(it, now) {
			continue
		}
		if count++; limit == 0 || len(items) < limit {
			items = append(items, it)
		}
	}
	return items, count, out, nil
}
