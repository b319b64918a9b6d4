package admin

import (
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/policy"
)

// replayed is how many recorded decisions are looked at.
const replayed = 10_000

// PolicyChange is a recorded decision that would fall otherwise.
type PolicyChange struct {
	Time  time.Time       `json:"time"`
	Facts policy.Facts    `json:"facts"`
	Stage string          `json:"stage"`
	Old   string          `json:"old"` // the reply as it would be today, or "accept"
	New   string          `json:"new"`
	Why   policy.Decision `json:"why"` // the new decision
}

// PolicyDiff replays recent decisions under the rules in force and under those
// of a proposed configuration, and returns how many there were, those that differ,
// and how many cannot be judged, because the new rules ask DNS what nobody asked. Today's rules are asked again, because what was recorded may be the
// word of an older configuration still.
func (o *Service) PolicyDiff(next *config.Config) (looked, unknown int, changes []PolicyChange, err error) {
	if err := o.RequireAll(false); err != nil {
		return 0, 0, nil, err
	}
	records, err := decisionlog.Recent(o.Root, replayed)
	if err != nil {
		return 0, 0, nil, err
	}
	if len(records) == 0 {
		return 0, 0, nil, Hint(errNoJournal, "let the server work for a while: it records what it decides")
	}
	changes = []PolicyChange{}
	for _, r := range records {
		if !next.Policy.Judgeable(&r.Facts) {
			unknown++
			continue
		}
		before, after := atStage(&o.Config().Policy, r), atStage(&next.Policy, r)
		if verdictText(before) == verdictText(after) {
			continue
		}
		changes = append(changes, PolicyChange{
			Time: r.Time, Facts: r.Facts, Stage: after.Stage, Old: verdictText(before), New: verdictText(after), Why: after,
		})
	}
	return len(records), unknown, changes, nil
}

// atStage decides as far as the record goes: what came later is not known.
func atStage(rules *policy.Rules, r decisionlog.Record) policy.Decision {
	stages := []func(*policy.Facts) policy.Decision{rules.Connect, rules.Mail, rules.Rcpt, rules.Message}
	facts := r.Facts
	if facts.User.Right == "" {
		facts.User.Outside = rules.Outside.Send.Value
	}
	if facts.InboundRight == "" {
		facts.NoOutside = !rules.Outside.Receive.Value
	}
	var d policy.Decision
	for _, stage := range stages {
		d = stage(&facts)
		if d.Verdict == policy.Refuse || d.Stage == r.Stage {
			return d
		}
	}
	return d
}

func verdictText(d policy.Decision) string {
	if d.Reply != nil {
		return d.Reply.Error()
	}
	return d.Verdict.String()
}
