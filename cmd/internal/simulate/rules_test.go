package simulate

import (
	"maps"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/rules"
)

// vaultName is the archive of office.example. No other step touches it.
const vaultName = "vault@office.example"

// forwardName is where the rules forward to.
const forwardName = "z@else.example"

// ruleList are the rules of a mailbox: a message says in X-Rule which of them it is for.
func ruleList() []rules.Rule {
	is := func(word string) []rules.Condition {
		return []rules.Condition{{What: rules.Header, Name: "X-Rule", Value: word}}
	}
	to, _ := addr.Parse(forwardName)
	return []rules.Rule{
		{If: is("discard"), Do: rules.Discard},
		{If: is("refuse"), Do: rules.Refuse, Text: "No, thanks"},
		{If: is("forward"), Do: rules.Forward, To: []addr.Address{to}},
	}
}

// setRules gives all mailboxes their rules, and office.example its archive, once and without faults: what a verb that has
// failed did is not what is tested here.
func (w *world) setRules() {
	m := w.model
	m.mu.Lock()
	done := m.vault != nil || w.disk.Off()
	m.mu.Unlock()
	if done {
		return
	}
	w.moves.Add(1)
	w.moving.Add(1)
	defer w.moving.Add(-1)
	w.faults.bypass(w.disk, func() {
		if err := w.base.addMailbox(w.office, vaultName); err != nil {
			w.log("rules: %v", err)
			return
		}
		if _, err := w.office.SetDomainArchive("office.example", vaultName); err != nil {
			w.log("archive: %v", err) // the disk may be full
			return
		}
		m.mu.Lock()
		boxes := maps.Clone(m.boxes)
		m.mu.Unlock()
		ruled := make(map[*box]bool)
		for name, b := range boxes {
			a, _ := addr.Parse(name)
			err := w.office.Dir.UpdateAccount(a, func(account *directory.Account) error {
				account.Rules = ruleList()
				return nil
			})
			w.log("rules of %s: %v", name, err)
			ruled[b] = err == nil
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for b, yes := range ruled {
			b.ruled = yes
		}
		m.vault = m.newBox(vaultName)
	})
}

// archived notes the copy of a message for the archive. Needs the model's lock.
func (w *world) archived(out *sending, now state) {
	m, s := w.model, out.step
	if m.vault == nil {
		return
	}
	office := func(a string) bool { return strings.HasSuffix(a, "@office.example") }
	concerned := isLocal(s.From) && office(s.From)
	for to := range out.boxes {
		concerned = concerned || office(to)
	}
	if !concerned {
		return
	}
	m.meant(s.Token, vaultName)
	if !out.ruled && now != refused {
		now = min(now, maybe) // the archive came while the message was on its way
	}
	m.answered(m.vault, s.Token, now, false)
}

// ruled notes what the rule of a mailbox made of a message. Needs the model's lock.
func (w *world) ruled(out *sending, b *box, now, state state, places int) {
	m, s := w.model, out.step
	sure := out.ruled && out.still == 0 && w.moving.Load() == 0 && out.moves == int64(w.moves.Load()) && out.unmoved()
	either := min(state, maybe) // which of two may be right
	if now == refused {
		either = refused
	}
	switch s.Rule {
	case "discard":
		if sure && now != flying {
			either = refused
		}
	case "forward":
		key := awayKey(s.Token, forwardName)
		a := m.away[key]
		if a == nil {
			a = &away{token: s.Token, to: forwardName}
			m.away[key] = a
		}
		if a.state != promised && !containsName(out.away, forwardName) {
			if a.state = now; !sure && now == promised {
				a.state = maybe
			}
			if a.state == maybe && a.accepted > 0 {
				a.state = promised
			}
		}
		if now != refused {
			m.owe(s.Token, out.names[b], "failed", s.From).unsure = true
		}
		if sure && now != flying {
			either = refused
		}
	case "refuse":
		alone := places == 1 && len(out.away) == 0
		if alone && sure && now == promised {
			m.violation("message %s was accepted for %s, whose rule refuses it", s.Token, b.name)
		}
		if !alone && (isLocal(s.From) || vouched(s.From)) {
			m.owe(s.Token, out.names[b], "failed", s.From).unsure = true
		}
	}
	m.answered(b, s.Token, either, false)
}

func containsName(all []string, name string) bool {
	for _, a := range all {
		if a == name {
			return true
		}
	}
	return false
}
