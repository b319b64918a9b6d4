package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

// maxFactors limits the second factors of a mailbox. A user needs one for each telephone.
const maxFactors = 10

// SecondFactorDetails are the second factors of a mailbox.
type SecondFactorDetails struct {
	Factors       []SecondFactorStatus `json:"factors"`
	RecoveryCodes int                  `json:"recovery_codes"` // that are not used yet
}

// SecondFactorStatus is a telephone or program that shows codes.
type SecondFactorStatus struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

func (o *Service) showSecondFactor(user string) (SecondFactorDetails, error) {
	box, err := o.mailbox(user)
	if err != nil {
		return SecondFactorDetails{}, err
	}
	return secondFactors(box), nil
}

func secondFactors(box directory.Mailbox) SecondFactorDetails {
	d := SecondFactorDetails{
		Factors: []SecondFactorStatus{}, RecoveryCodes: len(box.Account.RecoveryCodes),
	}
	for _, f := range box.Account.SecondFactors {
		d.Factors = append(d.Factors, SecondFactorStatus{f.ID, f.Name, f.Created})
	}
	return d
}

// SecondFactorToAdd is the input of SecondFactorAdd. Secret is what auth.NewFactor made, and Code a
// code of it, which shows that the user's program has it.
type SecondFactorToAdd struct{ User, Name, Secret, Code string }

// RecoveryCodes is the output of verbs that make recovery codes. It is the only place where they are
// ever shown.
type RecoveryCodes struct {
	Change
	Codes []string `json:"codes"` // none if the old ones stay valid
}

// addSecondFactor adds a second factor. Only the page calls it, for the user who is logged in.
func (o *Service) addSecondFactor(in SecondFactorToAdd) (out RecoveryCodes, err error) {
	name, err := checkLabel(in.Name)
	if err != nil {
		return out, err
	}
	out.Change, err = o.changeMailbox(in.User, "has the second factor "+name, func(a addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			if err := roomForFactor(acc, a, name); err != nil {
				return err
			}
			out.Codes, err = o.Keeper.AddFactor(acc, name, in.Secret, in.Code, time.Now())
			return err
		})
	})
	if err != nil {
		return RecoveryCodes{}, err
	}
	return out, nil
}

// roomForFactor refuses a name that is taken: a new second factor never replaces another one.
func roomForFactor(acc *directory.Account, a addr.Address, name string) error {
	if len(acc.SecondFactors) >= maxFactors {
		return fmt.Errorf("%s has %d second factors already", a, maxFactors)
	}
	if slices.ContainsFunc(acc.SecondFactors, func(f directory.SecondFactor) bool {
		return strings.EqualFold(f.Name, name)
	}) {
		return Hint(fmt.Errorf("%s has a second factor with the name %q already", a, name),
			"choose another name, or remove that one")
	}
	return nil
}

// newRecoveryCodes replaces the recovery codes. Only the page calls it, for the user who is logged in.
func (o *Service) newRecoveryCodes(user string) (out RecoveryCodes, err error) {
	out.Change, err = o.changeMailbox(user, "has new recovery codes", func(a addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			if !acc.HasSecondFactor() {
				return errors.New("the mailbox has no second factor")
			}
			out.Codes = auth.NewRecoveryCodes(acc)
			return nil
		})
	})
	if err != nil {
		return RecoveryCodes{}, err
	}
	return out, nil
}

// removeSecondFactor removes the second factor with an ID or a name; "" removes all, so that a user
// whose telephone is lost can log in with the password again.
func (o *Service) removeSecondFactor(user, which string) (Change, error) {
	done := "has no second factor now; its password alone opens the page"
	if which != "" {
		done = "has one second factor less: " + which
	}
	return o.changeMailbox(user, done, func(a addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			if !acc.HasSecondFactor() {
				return fmt.Errorf("%s has no second factor", a)
			}
			if which == "" {
				auth.RemoveFactors(acc)
				return nil
			}
			for _, f := range acc.SecondFactors {
				if f.ID == strings.ToLower(which) || strings.EqualFold(f.Name, which) {
					return auth.RemoveFactor(acc, f.ID)
				}
			}
			return Hint(fmt.Errorf("%s has no second factor with the ID or name %q", a, which),
				"'pillarbox admin mailbox second-factor show %s' shows them", a)
		})
	})
}
