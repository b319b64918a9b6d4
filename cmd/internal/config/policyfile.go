package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"pillarbox/mailstore/durable"
)

// PolicyFileName is the file of the data directory with the keys that operators have set: rules for
// clients, senders, recipients and relaying, and groups. It wins over the configuration file, which
// the server's account cannot write. The environment wins over both.
const PolicyFileName = "policy.toml"

// fileOnly are keys of the policy that an operator must not set.
var fileOnly = []string{"relay.i_know_this_is_an_open_relay"}

// inPolicyFile reports whether the policy file may set a key.
func (k key) inPolicyFile() bool {
	if isGroup(k.name) {
		return true
	}
	rules := slices.Concat(policySections(), filterSections())
	return slices.ContainsFunc(rules, func(row sectionRow) bool {
		return slices.ContainsFunc(row.keys, func(of key) bool { return of.name == k.name })
	}) && k.path == nil && !k.restart && !slices.Contains(fileOnly, k.name)
}

// policyFile is the path of the policy file, once Data is absolute.
func (c *Config) policyFile() string { return filepath.Join(c.Data, PolicyFileName) }

// WithPolicyFile lets Load take a text for that of the policy file.
func WithPolicyFile(text []byte) Option { return func(l *loader) { l.proposed = &text } }

// policyFile sets the keys that the policy file sets and the environment does not. The folder is
// that of the configuration file.
func (l *loader) policyFile(folder string) {
	if !l.sound("data") {
		return
	}
	file := filepath.Join(l.config.Data, PolicyFileName)
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	text, err := l.policyText(file)
	if err != nil {
		l.problem(origin{file: file}, "", "cannot be read: "+err.Error(), "make it readable for the server, or remove it")
		return
	}
	d := readDocument(file, text, l.names)
	l.problems = append(l.problems, d.problems...)
	const elsewhere = "write it into the configuration file"
	for table, lines := range d.entries {
		l.problem(origin{file: file, line: lines[0]}, table, "cannot be set in this file", elsewhere)
	}
	var set []key
	for _, name := range slices.Sorted(maps.Keys(d.values)) {
		i := slices.IndexFunc(l.keys, func(k key) bool { return k.name == name })
		switch {
		case i < 0 && isGroup(name):
			l.keys = append(l.keys, group(name))
			set = append(set, group(name))
		case i < 0: // of a table, which has been reported
		case !l.keys[i].inPolicyFile():
			l.problem(origin{file: file, line: d.values[name].line}, name, "cannot be set in this file", elsewhere)
		case l.config.origin[name].variable == "":
			set = append(set, l.keys[i])
		}
	}
	l.take(d, set)
}

// policyText reads the policy file. A user who may not see the data directory asks for nothing that
// depends on the policy.
func (l *loader) policyText(file string) ([]byte, error) {
	if l.proposed != nil {
		return *l.proposed, nil
	}
	text, err := durable.ReadSmallFile(file, durable.MaxSmall)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		err = perr.Err
	}
	return text, err
}

// PolicyFile is the keys of a policy file with their values: a string, []string, int64 or bool.
type PolicyFile map[string]any

// ParsePolicyFile reads the text of a policy file. It checks the form only; Load checks the keys.
func ParsePolicyFile(text []byte) (PolicyFile, error) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	f := PolicyFile{}
	f.flatten("", tree)
	return f, nil
}

func (f PolicyFile) flatten(name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for part, below := range v {
			f.flatten(strings.TrimPrefix(name+"."+part, "."), below)
		}
	case []any:
		list := []string{}
		for _, item := range v {
			list = append(list, fmt.Sprint(item))
		}
		f[name] = list
	default:
		f[name] = v
	}
}

// ErrPolicyKey means that the policy file cannot set a key.
var ErrPolicyKey = errors.New("cannot be set by an operator")

// Set sets a key: a list to any number of values, another key to one. It checks the kind of the
// value; Load checks the rest. The error may be ErrPolicyKey.
func (f PolicyFile) Set(name string, values []string) error {
	k := group(name)
	if !isGroup(name) {
		all := keys()
		i := slices.IndexFunc(all, func(k key) bool { return k.name == name })
		if i < 0 {
			return fmt.Errorf("%s: unknown key, %s", name, newSchema(all).suggestKey(name))
		}
		k = all[i]
	}
	if !k.inPolicyFile() {
		return fmt.Errorf("%s %w: it stands in the configuration file", name, ErrPolicyKey)
	}
	if k.kind == listKind {
		f[name] = slices.Clone(values)
		return nil
	}
	if len(values) != 1 {
		return fmt.Errorf("%s is %s: it has one value", name, k.kind)
	}
	v, err := valueOfKind(k.kind, values[0])
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f[name] = v
	return nil
}

// valueOfKind converts text to the value of a kind that is no list.
func valueOfKind(of kind, text string) (any, error) {
	switch of {
	case boolKind:
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return text == "true", nil
	case numberKind:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	}
	return text, nil
}

// Text writes the file.
func (f PolicyFile) Text() []byte {
	var b bytes.Buffer
	b.WriteString("# Set on the page or by 'pillarbox admin policy set'. These keys win over the configuration\n" +
		"# file; 'pillarbox admin policy reset KEY' gives a key back to it.\n")
	last := ""
	names := slices.SortedFunc(maps.Keys(f), func(a, b string) int {
		return strings.Compare(section(a)+"\x00"+a, section(b)+"\x00"+b)
	})
	for _, name := range names {
		if s := section(name); s != last {
			fmt.Fprintf(&b, "\n[%s]\n", s)
			last = s
		}
		fmt.Fprintf(&b, "%s = %s\n", leaf(name), formatValue(f[name]))
	}
	return b.Bytes()
}

func formatValue(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case []string:
		return quoteList(v)
	}
	return fmt.Sprint(v)
}
