package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/durable"
)

// policyBefore keeps the policy file as it was before the last change, for PolicyUndo.
const policyBefore = "policy.before.toml"

// maxPolicyChanges is the number of changed decisions that a preview shows.
const maxPolicyChanges = 50

// policyLock serializes the changes of the policy file.
type policyLock struct{ sync.Mutex }

// PolicyQuestion asks for keys of the configuration.
type PolicyQuestion struct {
	All bool // also those that only the configuration file can set
}

// listPolicy lists the rules in force, with the place of each.
func (o *Service) listPolicy(q PolicyQuestion) ([]config.KeyInfo, error) {
	o.noteFile()
	all := o.Config().Explain()
	if q.All {
		return all, nil
	}
	return slices.DeleteFunc(all, func(k config.KeyInfo) bool { return !k.Policy }), nil
}

// PolicyValue is a key of the policy with a new value.
type PolicyValue struct {
	Key    string
	Values []string // of a list any number, else one
	// Before is the value that the caller has seen, as in config.KeyInfo; "": any. Another operator
	// may have changed it since.
	Before string
}

// PolicyPreview is what a change of the policy would do.
type PolicyPreview struct {
	Key    string `json:"key"`    // "": several
	Before string `json:"before"` // as in the configuration file
	After  string `json:"after"`
	// Looked is the number of recent decisions that were decided again under the new rules; Unknown
	// of them need DNS answers that were not recorded; Count were decided differently.
	Looked   int            `json:"looked"`
	Unknown  int            `json:"unknown"`
	Count    int            `json:"count"`
	Changes  []PolicyChange `json:"changes"` // the first of Count
	Warnings []string       `json:"warnings"`
}

// ErrPolicyStale means that the value is not the one that the caller has seen.
var ErrPolicyStale = errors.New("the value has changed meanwhile")

// tryPolicy replays recent decisions under a new value. It changes nothing.
func (o *Service) tryPolicy(in PolicyValue) (PolicyPreview, error) {
	file, err := o.readPolicy()
	if err == nil {
		err = usage(file.Set(in.Key, in.Values))
	}
	if err != nil {
		return PolicyPreview{}, o.explainPolicy(err)
	}
	next, err := o.configWith(file)
	if err != nil {
		return PolicyPreview{}, err
	}
	return o.preview(in.Key, next), nil
}

// preview compares the configuration in force with the next one.
func (o *Service) preview(key string, next *config.Config) PolicyPreview {
	p := PolicyPreview{Key: key, Changes: []PolicyChange{}, Warnings: o.newWarnings(key, next)}
	p.Before, _ = settingOf(o.Config(), key)
	p.After, _ = settingOf(next, key)
	looked, unknown, changes, err := o.PolicyDiff(next)
	if err != nil && !errors.Is(err, errNoJournal) {
		p.Warnings = append(p.Warnings, "recent decisions cannot be read: "+err.Error())
	}
	p.Looked, p.Unknown, p.Count = looked, unknown, len(changes)
	p.Changes = append(p.Changes, changes[:min(len(changes), maxPolicyChanges)]...)
	return p
}

// newWarnings are the warnings of the next configuration that the one in force does not have.
func (o *Service) newWarnings(key string, next *config.Config) []string {
	all := slices.DeleteFunc(orEmpty(next.Warnings), func(w string) bool {
		return slices.Contains(o.Config().Warnings, w)
	})
	if _, variable := settingOf(next, key); variable != "" {
		all = append(all, fmt.Sprintf("the environment variable %s sets the key and wins", variable))
	}
	return all
}

// setPolicy sets a key in the policy file, and puts it in force.
func (o *Service) setPolicy(in PolicyValue) (Change, error) {
	return o.changePolicy(in.Key, func(file config.PolicyFile) (config.PolicyFile, error) {
		if now, _ := settingOf(o.Config(), in.Key); in.Before != "" && in.Before != now {
			return nil, Hint(fmt.Errorf("%s is %s now: %w", in.Key, now, ErrPolicyStale), "look at it again, and repeat the change if it is still wanted")
		}
		return file, usage(file.Set(in.Key, in.Values))
	})
}

// resetPolicy takes a key out of the policy file, so that the configuration file counts again.
func (o *Service) resetPolicy(key string) (Change, error) {
	return o.changePolicy(key, func(file config.PolicyFile) (config.PolicyFile, error) {
		if _, set := file[key]; !set {
			return nil, Hint(fmt.Errorf("%s is not set by an operator", key), "'pillarbox admin policy list' shows where each key is set")
		}
		delete(file, key)
		return file, nil
	})
}

// undoPolicy puts the policy file back as it was before the last change. Done twice, it changes
// nothing.
func (o *Service) undoPolicy() (Change, error) {
	return o.changePolicy("", func(config.PolicyFile) (config.PolicyFile, error) {
		text, err := durable.ReadSmall(o.Root, policyBefore, durable.MaxSmall)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, Hint(errors.New("no operator has changed the policy yet"), "'pillarbox admin policy list' shows where each key is set")
		} else if err != nil {
			return nil, err
		}
		return config.ParsePolicyFile(text)
	})
}

// changePolicy writes the policy file that edit returns. Nothing is written if the configuration
// would have a mistake with it.
func (o *Service) changePolicy(key string, edit func(config.PolicyFile) (config.PolicyFile, error)) (Change, error) {
	o.policies.Lock()
	defer o.policies.Unlock()
	before, err := o.readPolicy()
	if err != nil {
		return Change{}, o.explainPolicy(err)
	}
	old := before.Text()
	file, err := edit(before)
	if err != nil {
		return Change{}, o.explainPolicy(err)
	}
	next, err := o.configWith(file)
	if err != nil {
		return Change{}, err
	}
	was, _ := settingOf(o.Config(), key) // before the reload
	warnings := o.newWarnings(key, next)
	err = durable.WriteFile(o.Root, policyBefore, old, 0o600)
	if err == nil {
		err = durable.WriteFile(o.Root, config.PolicyFileName, file.Text(), 0o600)
	}
	if err != nil {
		return Change{}, err
	}
	replaced, _ := config.ParsePolicyFile(old) // written by Text
	o.Record("policy", keysOf(replaced), keysOf(file))
	if o.Running != nil {
		if r := o.Running.Reload(); r.Error != "" {
			return Change{}, Hint(fmt.Errorf("the change is written, but the server has not taken it: %s", r.Error), "'pillarbox config check' shows the mistakes")
		}
	} else if err := o.SetConfig(next); err != nil {
		warnings = append(warnings, err.Error())
	}
	if key == "" {
		return changed(nil, warnings, "the policy is as it was before the last change")
	}
	now, _ := settingOf(next, key)
	return changed(nil, warnings, "%s is %s now; it was %s", key, now, was)
}

// keysOf is the policy file for the audit log; nil if it is empty.
func keysOf(file config.PolicyFile) any {
	if len(file) == 0 {
		return nil
	}
	return map[string]any(file)
}

// readPolicy reads the policy file; it is empty if there is none.
func (o *Service) readPolicy() (config.PolicyFile, error) {
	text, err := durable.ReadSmall(o.Root, config.PolicyFileName, durable.MaxSmall)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return config.ParsePolicyFile(text)
}

// configWith is the configuration with another policy file. The error names every mistake.
func (o *Service) configWith(file config.PolicyFile) (*config.Config, error) {
	path := o.Config().File()
	if path == "" {
		return nil, Hint(errors.New("the server has no configuration file"), "'pillarbox setup' writes one")
	}
	next, err := config.Load(path, os.Environ(), config.On(config.ThisMachine()), config.WithPolicyFile(file.Text()))
	return next, usage(err)
}

func (o *Service) explainPolicy(err error) error {
	if errors.Is(err, config.ErrPolicyKey) {
		return Hint(err, "edit %s as root, then 'pillarbox admin reload'", o.Config().File())
	}
	return err
}
