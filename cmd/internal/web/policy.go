package web

import (
	"slices"
	"strconv"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// policyPage is what the page "policy" shows: the keys of the policy, section by section.
type policyPage struct {
	Sections  []ruleSection
	Edited    bool // an operator has set some
	MayChange bool
}

type ruleSection struct {
	Name string
	Keys []config.KeyInfo
}

func showPolicy(r *request) (view, error) {
	keys, err := admin.PolicyList.Do(r.Context(), r.service, admin.PolicyQuestion{})
	p := policyPage{Sections: bySection(keys), MayChange: r.operator.MayAll(true)}
	p.Edited = slices.ContainsFunc(keys, func(k config.KeyInfo) bool { return k.Set })
	return view{"policy", "Rules of the server", p}, err
}

// bySection groups keys that follow each other.
func bySection(keys []config.KeyInfo) (all []ruleSection) {
	for _, k := range keys {
		if n := len(all); n == 0 || all[n-1].Name != k.Section {
			all = append(all, ruleSection{Name: k.Section})
		}
		last := &all[len(all)-1]
		last.Keys = append(last.Keys, k)
	}
	return all
}

// rulePage is what the page "rule" shows: one key to edit, and what a new value would do.
type rulePage struct {
	config.KeyInfo
	Text      string // the value in the field; the items of a list one by line
	Preview   *admin.PolicyPreview
	MayChange bool
}

func showRule(r *request) (view, error) {
	keys, err := admin.PolicyList.Do(r.Context(), r.service, admin.PolicyQuestion{})
	if err != nil {
		return view{}, err
	}
	name := r.FormValue("key")
	i := slices.IndexFunc(keys, func(k config.KeyInfo) bool { return k.Key == name })
	if i < 0 {
		return view{}, errNoPage
	}
	p := rulePage{KeyInfo: keys[i], Text: plainValue(keys[i]), MayChange: r.operator.MayAll(true)}
	if _, asked := r.Form["value"]; !asked {
		return view{"rule", "Change a rule", p}, nil
	}
	p.Text = r.FormValue("value")
	preview, err := admin.PolicyTry.Do(r.Context(), r.service, newValue(r, p.List()))
	if err != nil {
		r.problem = problemOf(err)
	} else {
		p.Preview = &preview
	}
	return view{"rule", "Change a rule", p}, nil
}

// plainValue is a value as a person types it into a field.
func plainValue(k config.KeyInfo) string {
	if k.List() {
		return strings.Join(k.Items, "\n")
	}
	if text, err := strconv.Unquote(k.Value); err == nil {
		return text
	}
	return k.Value // a number, or true or false
}

// newValue is the value that was typed. before guards against a change by another operator.
func newValue(r *request, list bool) admin.PolicyValue {
	v := admin.PolicyValue{Key: r.FormValue("key"), Before: r.FormValue("before")}
	text := strings.TrimSpace(r.FormValue("value"))
	if !list {
		v.Values = []string{text}
		return v
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			v.Values = append(v.Values, line)
		}
	}
	return v
}

func setRule(r *request) (outcome, error) {
	c, err := admin.PolicySet.Do(r.Context(), r.service, newValue(r, r.field("list") != ""))
	return then("/policy", c, err)
}

func policyActs() map[string]act {
	return map[string]act{
		"reset": func(r *request) (outcome, error) {
			c, err := admin.PolicyReset.Do(r.Context(), r.service, r.field("key"))
			return then("/policy", c, err)
		},
		"undo": func(r *request) (outcome, error) {
			c, err := admin.PolicyUndo.Do(r.Context(), r.service, struct{}{})
			return then("/policy", c, err)
		},
	}
}

// settingsPage is what the page "settings" shows: every key of the configuration.
type settingsPage struct {
	Match    string
	Sections []ruleSection
}

func showSettings(r *request) (view, error) {
	keys, err := admin.PolicyList.Do(r.Context(), r.service, admin.PolicyQuestion{All: true})
	p := settingsPage{Match: strings.TrimSpace(r.FormValue("match"))}
	match := strings.ToLower(p.Match)
	p.Sections = bySection(slices.DeleteFunc(keys, func(k config.KeyInfo) bool {
		return !strings.Contains(strings.ToLower(k.Key+" "+k.Doc+" "+k.Value), match)
	}))
	return view{"settings", "Settings", p}, err
}

// refusalsPage is what the page "refusals" shows.
type refusalsPage struct {
	Rows []admin.Refusal
	pages
}

func showRefusals(r *request) (view, error) {
	all, err := admin.RefusalList.Do(r.Context(), r.service, struct{}{})
	var p refusalsPage
	p.Rows, p.pages = cut(r, all)
	return view{"refusals", "Latest refusals", p}, err
}
