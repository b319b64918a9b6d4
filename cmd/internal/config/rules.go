package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// groupEntry begins an entry that names a group.
const groupEntry = "group:"

// entryFault is a wrong line of a list, or of a group that the list uses.
type entryFault struct {
	list string // the list's key
	err  *policy.EntryError
}

// compile turns the present settings and lines into the policy.
func (c *Config) compile() (faults []entryFault) {
	groups := c.groups()
	for _, k := range c.keys() {
		if k.compile == nil {
			continue
		}
		for _, err := range k.compile(c, groups) {
			faults = append(faults, entryFault{k.name, asEntryError(err)})
		}
	}
	yes := policy.Setting[bool]{Value: true, Origin: byDefault}
	c.Policy.Sites = map[string]policy.Site{
		smtp.MTA.String():        c.Sites.SMTP,
		smtp.Submission.String(): c.Sites.Submission,
		smtp.SMTPS.String():      c.Sites.SMTPS,
		smtp.Local.String():      {Anonymous: yes},
		smtp.ODMR.String():       {RequireAuth: yes, OfferAuth: yes},
	}
	c.Policy.Routes = c.routeLimits()
	c.Policy.Outside.Closed = policy.Setting[bool]{Value: !c.Outbound.Enabled, Origin: c.Origin("outbound.enabled")}
	return faults
}

// routeLimits are the restrictions of the routes.
func (c *Config) routeLimits() policy.Routes {
	limits := policy.Routes{Table: &c.Routes}
	for i := range c.Routes.Routes {
		limits.Limit = append(limits.Limit, policy.RouteLimit{
			AcceptFrom: c.Relayed[i].AcceptFrom, RejectFrom: c.Relayed[i].RejectFrom,
			MaxSize: policy.Setting[int64]{
				Value: c.Routes.Routes[i].MaxSize, Origin: c.Origin(entry("route", i) + ".max_size"),
			},
		})
	}
	return limits
}

func asEntryError(err error) *policy.EntryError {
	if e, ok := errors.AsType[*policy.EntryError](err); ok {
		return e
	}
	return &policy.EntryError{What: err.Error()}
}

// groups returns the lines of each group by its name.
func (c *Config) groups() map[string][]policy.Line {
	all := map[string][]policy.Line{}
	for name, lines := range c.lines {
		if isGroup(name) {
			all[leaf(name)] = lines
		}
	}
	return all
}

// compile compiles the policy and reports every wrong line once.
func (l *loader) compile() {
	groups := l.config.groups()
	faults := l.config.compile()
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		faults = append(faults, unused(name, groups)...)
	}
	reported := map[policy.Line]bool{}
	for _, f := range faults {
		if line := f.err.Line; !reported[line] {
			reported[line] = true
			l.entryProblem(f, groups)
		}
	}
	l.checkBareGroups(groups)
}

// unused finds the lines of a group that fit no list at all. The lists that use the
// group have reported their own faults.
func unused(name string, groups map[string][]policy.Line) (faults []entryFault) {
	_, asHosts := policy.ParseHosts(groups[name], groups)
	_, asAddresses := policy.ParseAddresses(groups[name], groups)
	for _, err := range asHosts {
		e := asEntryError(err)
		if slices.ContainsFunc(asAddresses, func(err error) bool { return asEntryError(err).Line == e.Line }) {
			faults = append(faults, entryFault{groupsSection + "." + name, e})
		}
	}
	return faults
}

func (l *loader) entryProblem(f entryFault, groups map[string][]policy.Line) {
	line := f.err.Line
	what, hint := fmt.Sprintf("%q: %s", line.Text, f.err.What), f.err.Hint
	member, named := strings.CutPrefix(line.Text, groupEntry)
	if _, known := groups[member]; named && !known {
		hint = suggestGroup(member, slices.Sorted(maps.Keys(groups)))
	}
	name := l.keyWith(line, f.list)
	if name != f.list && isGroup(name) && !named {
		what += ", and " + f.list + " uses the group"
	}
	l.problem(l.places[line.Origin], name, what, hint)
}

// keyWith returns the key with the line: the list itself, or a group or the domains
// of a route that the list uses.
func (l *loader) keyWith(line policy.Line, list string) string {
	if slices.Contains(l.config.lines[list], line) {
		return list
	}
	for _, k := range l.keys {
		if (isGroup(k.name) || isEntry(k.name)) && slices.Contains(l.config.lines[k.name], line) {
			return k.name
		}
	}
	return list
}

func suggestGroup(missing string, known []string) string {
	if meant := nearest(missing, known); meant != nil {
		return "did you mean " + groupEntry + join(meant, "or") + "?"
	}
	if len(known) == 0 {
		return "write " + missing + " = […] below [" + groupsSection + "]"
	}
	return "the groups are " + join(known, "and")
}

// checkBareGroups warns of an entry that is the name of a group without "group:".
func (l *loader) checkBareGroups(groups map[string][]policy.Line) {
	for _, k := range l.keys {
		for _, line := range l.config.lines[k.name] {
			if _, ok := groups[line.Text]; ok {
				l.warn(line.Origin, k.name, "%q is a host or a domain here; the group is %q", line.Text, groupEntry+line.Text)
			}
		}
	}
}

func (l *loader) warn(origin, key, what string, args ...any) {
	l.config.Warnings = append(l.config.Warnings, fmt.Sprintf("%s: %s: %s", origin, key, fmt.Sprintf(what, args...)))
}

// keyWarning warns at the place where the key is set.
func (l *loader) keyWarning(key, what string, args ...any) {
	l.warn(l.config.Origin(key), key, what, args...)
}
