package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"pillarbox/smtp/policy"
)

// kind is how a value is written in the file.
type kind string

const (
	textKind   kind = "a string"
	listKind   kind = "a list of strings"
	numberKind kind = "a whole number"
	boolKind   kind = "true or false"
)

// key is one row of the configuration: everything that the program knows about one setting. The
// rows are in keys_*.go; the loader, the sample, "config show" and the reload read them.
type key struct {
	name string // full, as smtp.max_errors
	kind kind

	// doc is the text above the key in the sample; above: the text before covers this key too.
	doc string

	// sample is the value in the sample if that is not the default.
	sample string

	setup   bool // "pillarbox setup" writes the value; in the sample the key is not commented out
	restart bool // a running server cannot take a new value

	// reset gives the field its default; nil if the entry of a table inherits its value.
	reset func(c *Config)

	// set parses a value, a string, []string, int64 or bool for the four kinds, into
	// the field; at returns the origin of an item of a list, or of the value. set
	// returns every mistake, and then leaves the field unchanged.
	set func(c *Config, v any, at func(item int) string) []fault

	// show writes the field as it would be written in the file.
	show func(c *Config) string

	// copy copies the field; nil for the lists of the policy.
	copy func(to, from *Config)

	// path is the field of a path, which is relative to the folder of the file; else nil.
	path func(c *Config) *string

	// compile turns the lines of a list and the groups into a list of the
	// policy; nil for every other key.
	compile func(c *Config, groups map[string][]policy.Line) []error

	// in reports whether a configuration has the entry of a table that the key
	// belongs to; nil for a key outside the tables.
	in func(c *Config) bool
}

// above stands for the text of the key before, or of the section.
const above = "(above)"

// inSetup marks a key that "pillarbox setup" writes.
func (k key) inSetup() key {
	k.setup = true
	return k
}

// needsRestart marks a key whose new value waits for a restart of the server.
func (k key) needsRestart() key {
	k.restart = true
	return k
}

// example sets the value in the sample; "" leaves the default.
func (k key) example(value string) key {
	k.sample = value
	return k
}

// inherited marks a key of a table whose default is the value of another key.
func (k key) inherited() key {
	k.reset = nil
	return k
}

// shareDoc marks keys that the text above their section covers.
func shareDoc(keys []key) []key {
	for i := range keys {
		keys[i].doc = above
	}
	return keys
}

// exists reports whether there is such a key in a configuration.
func (k key) exists(c *Config) bool { return k.in == nil || k.in(c) }

// variable is the environment variable that overrides the key.
func (k key) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// section is the part of a key's name before its last dot, "" for none.
func section(name string) string {
	return name[:max(strings.LastIndexByte(name, '.'), 0)]
}

// leaf is the part of a key's name after its last dot.
func leaf(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}

// fault is one mistake in a value; item is the index in a list, else 0.
type fault struct {
	item int
	mistake
}

// field begins a key whose value is one field of the configuration.
func field[T any](name string, kind kind, of func(*Config) *T, def T, doc string) key {
	return key{
		name: name, kind: kind, doc: doc,
		reset: func(c *Config) { *of(c) = def },
		copy:  func(to, from *Config) { *of(to) = *of(from) },
	}
}

// text is a key whose value is one string.
func text[T any](name string, of func(*Config) *T, as codec[T], def T, doc string) key {
	k := field(name, textKind, of, def, doc)
	k.set = func(c *Config, v any, _ func(int) string) []fault {
		parsed, err := as.parse(v.(string))
		if err != nil {
			return []fault{{0, asMistake(err)}}
		}
		*of(c) = parsed
		return nil
	}
	k.show = func(c *Config) string { return quote(as.format(*of(c))) }
	return k
}

// path is a text that names a file or folder.
func path(name string, of func(*Config) *string, as codec[string], def, doc string) key {
	k := text(name, of, as, def, doc)
	k.path = of
	return k
}

// list is a key whose value is a list of strings.
func list[T any](name string, of func(*Config) *[]T, as codec[T], def []T, doc string) key {
	k := field(name, listKind, of, def, doc)
	k.set = func(c *Config, v any, _ func(int) string) (faults []fault) {
		var all []T
		for i, item := range v.([]string) {
			parsed, err := as.parse(item)
			if err != nil {
				faults = append(faults, fault{i, asMistake(err)})
			}
			all = append(all, parsed)
		}
		if faults == nil {
			*of(c) = all
		}
		return faults
	}
	k.show = func(c *Config) string {
		var items []string
		for _, item := range *of(c) {
			items = append(items, as.format(item))
		}
		return quoteList(items)
	}
	return k
}

// atLeastOne is a list that must not be empty.
func atLeastOne(example string, k key) key {
	set := k.set
	k.set = func(c *Config, v any, at func(int) string) []fault {
		if len(v.([]string)) == 0 {
			return []fault{{0, mistake{"is empty", "write at least one, as in " + example}}}
		}
		return set(c, v, at)
	}
	return k
}

// bounds are the least and the greatest value of a number.
type bounds struct{ low, high int64 }

// number is a key whose value is a whole number.
func number(name string, of func(*Config) *int, b bounds, def int, doc string) key {
	k := field(name, numberKind, of, def, doc)
	k.set = func(c *Config, v any, _ func(int) string) []fault {
		n := v.(int64)
		if n < b.low || n > b.high {
			return []fault{{0, mistake{fmt.Sprintf("%d is out of range", n),
				fmt.Sprintf("write a number from %d to %d", b.low, b.high)}}}
		}
		*of(c) = int(n)
		return nil
	}
	k.show = func(c *Config) string { return strconv.Itoa(*of(c)) }
	return k
}

// boolean is a key whose value is true or false.
func boolean(name string, of func(*Config) *bool, def bool, doc string) key {
	k := field(name, boolKind, of, def, doc)
	k.set = func(c *Config, v any, _ func(int) string) []fault {
		*of(c) = v.(bool)
		return nil
	}
	k.show = func(c *Config) string { return strconv.FormatBool(*of(c)) }
	return k
}

// ruleBoolean is a boolean that is a setting of the policy.
func ruleBoolean(name string, of func(*Config) *policy.Setting[bool], def bool, doc string) key {
	return placed(boolean(name, valueOf(of), def, doc), of)
}

// ruleNumber is a number that is a setting of the policy.
func ruleNumber(
	name string, of func(*Config) *policy.Setting[int], b bounds, def int, doc string,
) key {
	return placed(number(name, valueOf(of), b, def, doc), of)
}

// ruleText is a text that is a setting of the policy.
func ruleText[T any](
	name string, of func(*Config) *policy.Setting[T], as codec[T], def T, doc string,
) key {
	return placed(text(name, valueOf(of), as, def, doc), of)
}

// valueOf is the field of a setting's value.
func valueOf[T any](of func(*Config) *policy.Setting[T]) func(*Config) *T {
	return func(c *Config) *T { return &of(c).Value }
}

// placed makes a key record the origin in its setting.
func placed[T any](k key, of func(*Config) *policy.Setting[T]) key {
	set, reset := k.set, k.reset
	k.set = func(c *Config, v any, at func(int) string) []fault {
		faults := set(c, v, at)
		if faults == nil {
			of(c).Origin = at(0)
		}
		return faults
	}
	k.reset = func(c *Config) {
		reset(c)
		of(c).Origin = byDefault
	}
	return k
}

// hosts is a list of hosts of the policy.
func hosts(name string, of func(*Config) *policy.HostList, def []string, doc string) key {
	k := lineList(name, def, doc)
	k.compile = func(c *Config, groups map[string][]policy.Line) (errs []error) {
		*of(c), errs = policy.ParseHosts(c.lines[name], groups)
		return errs
	}
	return k
}

// addresses is a list of addresses and domains of the policy.
func addresses(name string, of func(*Config) *policy.AddressList, def []string, doc string) key {
	k := lineList(name, def, doc)
	k.compile = func(c *Config, groups map[string][]policy.Line) (errs []error) {
		*of(c), errs = policy.ParseAddresses(c.lines[name], groups)
		return errs
	}
	return k
}

// lineList is a list of hosts or addresses as it is written. A group is one too.
func lineList(name string, def []string, doc string) key {
	lines := func(items []string, at func(int) string) (lines []policy.Line) {
		for i, item := range items {
			lines = append(lines, policy.Line{Text: item, Origin: at(i)})
		}
		return lines
	}
	return key{
		name: name, kind: listKind, doc: doc,
		reset: func(c *Config) {
			c.lines[name] = lines(def, func(int) string { return byDefault })
		},
		set: func(c *Config, v any, at func(int) string) []fault {
			c.lines[name] = lines(v.([]string), at)
			return nil
		},
		show: func(c *Config) string {
			var items []string
			for _, line := range c.lines[name] {
				items = append(items, line.Text)
			}
			return quoteList(items)
		},
	}
}

func asMistake(err error) mistake {
	if m, ok := errors.AsType[mistake](err); ok {
		return m
	}
	return mistake{what: err.Error()}
}
