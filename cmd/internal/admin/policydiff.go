package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/policy"
)

// replayed is the number of recorded decisions that PolicyDiff replays.
const replayed = 10_000

// PolicyChange is a recorded case that the new rules would decide differently.
type PolicyChange struct {
	Time  time.Time       `json:"time"`
	Facts policy.Facts    `json:"facts"`
	Stage string          `json:"stage"`
	Old   string          `json:"old"` // the reply under the rules in force, or "accept"
	New   string          `json:"new"`
	Why   policy.Decision `json:"why"` // the new decision
}

// PolicyChanges are the recorded decisions that the new rules would change.
type PolicyChanges struct {
	Looked  int // the number of recorded decisions
	Changes []PolicyChange
}

// comparePolicy compares the rules in force with those of a configuration file of the caller.
func (o *Service) comparePolicy(file string) (PolicyChanges, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return PolicyChanges{}, Hint(fmt.Errorf("there is no file %s", file),
			"copy the configuration to a file, change the copy, and name it")
	}
	next, err := config.Load(file, os.Environ(), config.On(config.ThisMachine()))
	if err != nil {
		return PolicyChanges{}, err
	}
	looked, unknown, changes, err := o.PolicyDiff(next)
	if unknown > 0 {
		o.note("%d decisions cannot be compared: the new rules need DNS answers that were not recorded", unknown)
	}
	return PolicyChanges{looked, changes}, err
}

// PolicyDiff replays recent decisions under the rules in force and under those of a proposed
// configuration. looked is the number of recorded decisions, and changes are those that differ.
// unknown of them were not compared, because the new rules need DNS answers that were not recorded.
// PolicyDiff evaluates the rules in force anew, because the recorded decision may follow an older
// configuration.
func (o *Service) PolicyDiff(next *config.Config) (looked, unknown int, changes []PolicyChange, err error) {
	records, err := decisionlog.Recent(o.Root, replayed)
	if err != nil {
		return 0, 0, nil, err
	}
	if len(records) == 0 {
		return 0, 0, nil, Hint(errNoJournal, "let the server run for a while: it records its decisions")
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

// atStage evaluates the rules up to the stage of the record. The facts of later stages are unknown.
func atStage(rules *policy.Rules, r decisionlog.Record) policy.Decision {
	stages := []func(*policy.Facts) policy.Decision{rules.Connect, rules.Mail, rules.Rcpt, rules.Message}
	facts := recordedFacts(rules, r)
	var d policy.Decision
	for _, stage := range stages {
		d = stage(&facts)
		if d.Verdict == policy.Refuse || d.Stage == r.Stage {
			return d
		}
	}
	return d
}

// recordedFacts returns the facts of a record with the rights that the rules give by default.
func recordedFacts(rules *policy.Rules, r decisionlog.Record) policy.Facts {
	facts := r.Facts
	if facts.User.Right == "" {
		facts.User.Outside = rules.Outside.Send.Value
	}
	if facts.InboundRight == "" {
		facts.NoOutside = !rules.Outside.Receive.Value
	}
	return facts
}

func verdictText(d policy.Decision) string {
	if d.Reply != nil {
		return d.Reply.Error()
	}
	return d.Verdict.String()
}
