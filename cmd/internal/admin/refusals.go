package admin

import (
	"slices"

	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/policy"
)

// maxRefusals is the number of refusals that RefusalList shows.
const maxRefusals = 100

// Refusal is a refusal of a client, and what the rules in force say to the same facts.
type Refusal struct {
	decisionlog.Record
	// Now is the decision of the rules in force. It may accept: the rules, or the room in a mailbox,
	// have changed since.
	Now policy.Decision `json:"now"`
}

// listRefusals lists the latest refusals, the newest first.
func (o *Service) listRefusals() ([]Refusal, error) {
	records, err := decisionlog.Refusals(o.Root, journalLook)
	all := []Refusal{}
	for _, r := range slices.Backward(records) {
		if r.Refused() && len(all) < maxRefusals {
			all = append(all, Refusal{r, atStage(&o.Config().Policy, r)})
		}
	}
	return all, err
}
