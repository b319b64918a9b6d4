package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"pillarbox/smtp/policy"
)

// sectionRow is a section of the file: its name, the text above it in the sample, and its keys. The
// name is "" for the keys before the first section.
type sectionRow struct {
	name  string
	intro string
	keys  []key
}

// sectionRows lists the sections in the order of the sample.
func sectionRows() []sectionRow {
	return slices.Concat(serverSections(), loginSections(), policySections(), outboundSections(),
		filterSections(), protocolSections())
}

// table is a section that may appear several times, as [[name]]. The keys of its first entry are
// name[1].key and so on. No file can contain such a name: a bare key has no brackets.
type table struct {
	name  string
	intro string

	// keys are those of the entry with this section and index. They may be used
	// only with a configuration that has the entry.
	keys func(section string, i int) []key

	add func(c *Config)     // appends an entry
	len func(c *Config) int // the number of entries
}

// tables lists the tables in the order of the sample.
func tables() []table {
	return []table{
		{
			name: "route", intro: routeIntro, keys: routeKeys,
			add: func(c *Config) {
				r := c.Routes.Default
				r.Name = ""
				c.Routes.Routes = append(c.Routes.Routes, r)
				c.Relayed = append(c.Relayed, Relayed{})
			},
			len: func(c *Config) int { return len(c.Routes.Routes) },
		},
		{
			name: "fetch", intro: fetchIntro, keys: fetchKeys,
			add: func(c *Config) { c.Fetch = append(c.Fetch, Fetch{}) },
			len: func(c *Config) int { return len(c.Fetch) },
		},
		{
			name: "directory", intro: directoryIntro, keys: directoryKeys,
			add: func(c *Config) { c.Directories = append(c.Directories, Directory{}) },
			len: func(c *Config) int { return len(c.Directories) },
		},
	}
}

// grow appends an entry with its defaults and returns its section and its keys.
func (t table) grow(c *Config) (section string, keys []key) {
	i := t.len(c)
	t.add(c)
	section = entry(t.name, i)
	keys = t.keys(section, i)
	for _, k := range keys {
		if k.reset != nil {
			k.reset(c)
		}
	}
	return section, keys
}

// entryKeys marks keys of an entry that a configuration may have or not.
func entryKeys(all []key, in func(*Config) bool) []key {
	for k := range all {
		all[k].in = in
	}
	return all
}

// entry is the section of a table's entry, whose index counts from 0.
func entry(name string, i int) string { return fmt.Sprintf("%s[%d]", name, i+1) }

var entryIndex = regexp.MustCompile(`^([a-z]+)\[[0-9]+\]`)

// isEntry reports whether a key, or a section, is that of a table's entry.
func isEntry(name string) bool { return entryIndex.MatchString(name) }

// general is the name of an entry's key without the entry's number, as the schema has it:
// route[].tls.
func general(name string) string { return entryIndex.ReplaceAllString(name, "$1[]") }

// keys lists every key outside the tables, in the order of the sample.
func keys() (all []key) {
	for _, s := range sectionRows() {
		all = append(all, s.keys...)
	}
	return all
}

// keys lists every key, then those of the entries of tables and the groups that this configuration
// has.
func (c *Config) keys() []key {
	all := keys()
	for _, t := range tables() {
		for i := range t.len(c) {
			all = append(all, t.keys(entry(t.name, i), i)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.lines)) {
		if isGroup(name) {
			all = append(all, group(name))
		}
	}
	return all
}

// group is the key of a group, whose name the file chooses.
func group(name string) key { return lineList(name, nil, "") }

// byDefault is the origin of a value that is set neither in the file nor in the environment.
const byDefault = "default"

// Default returns the defaults of all keys. Hostname has none. Paths are as in the rows: relative to
// the folder of a file that is not known here.
func Default() Config {
	c := Config{origin: map[string]origin{}, lines: map[string][]policy.Line{}}
	c.Routes.Default.Name = "default"
	for _, k := range keys() {
		k.reset(&c)
	}
	if faults := c.compile(); faults != nil {
		panic(faults[0].err) // the default of a row is wrong
	}
	if err := c.Mailboxes.loadNotices(); err != nil {
		panic(err) // a built-in template is wrong
	}
	return c
}
