package config

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"pillarbox/smtp/policy"
)

// Setting is one line of "config show".
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // as it would be written in the file
	Source string `json:"source"` // "default", "file:line" or "env NAME"
	Secret bool   `json:"secret"` // Value must not be shown; no key is secret so far
}

// Changed lists the settings of Effective that are set to another value than the default. An entry
// of a table has no default, so all keys that it sets are among them.
func (c *Config) Changed() []Setting {
	defaults := Default()
	if file := c.File(); file != "" {
		defaults.resolve(filepath.Dir(file), filepath.Base(file))
	}
	byKey := map[string]string{}
	for _, s := range defaults.Effective() {
		byKey[s.Key] = s.Value
	}
	return slices.DeleteFunc(c.Effective(), func(s Setting) bool {
		value, ok := byKey[s.Key]
		return s.Source == byDefault || ok && s.Value == value
	})
}

// Effective lists every setting in the order of the sample, then the entries of
// the tables, as route[1].domains, then the groups.
func (c *Config) Effective() []Setting {
	var all []Setting
	for _, k := range c.keys() {
		source := byDefault
		if o, ok := c.source(k.name); ok {
			source = o.String()
		}
		all = append(all, Setting{Key: k.name, Value: k.show(c), Source: source})
	}
	return all
}

// Origin returns the origin of a key in the form of policy.Setting:
// "pillarbox.toml:41", "env PILLARBOX_…" or "default".
func (c *Config) Origin(name string) string {
	if o, ok := c.source(name); ok {
		return o.short()
	}
	return byDefault
}

// NamedFile is a file that the configuration names for the server to read.
type NamedFile struct {
	Key  string // such as tls.cert, or route[1].password_file
	Path string // absolute
}

// File returns the absolute path of the configuration file; "" if the file sets no key.
func (c *Config) File() string {
	for _, o := range c.origin {
		if o.file != "" && o.file != c.policyFile() {
			file, err := filepath.Abs(o.file)
			if err != nil {
				return ""
			}
			return file
		}
	}
	return ""
}

// NamedFiles returns the files that the configuration names, without the data directory, folders
// and sockets. A route may name the file of [outbound] again.
func (c *Config) NamedFiles() (all []NamedFile) {
	for _, k := range c.keys() {
		switch {
		case k.path == nil || !strings.HasSuffix(k.name, "_file") && !slices.Contains(fileKeys, k.name):
		case *k.path(c) != "":
			all = append(all, NamedFile{k.name, *k.path(c)})
		}
	}
	return all
}

// fileKeys are the keys of NamedFiles whose names do not end in "_file".
var fileKeys = []string{"passwords.deny_list", "tls.cert", "tls.key", "tls.rsa_cert", "tls.rsa_key"}

// source returns the origin of the value of a key. A route may have it from
// [outbound].
func (c *Config) source(name string) (o origin, ok bool) {
	if o, ok = c.origin[name]; ok || !strings.HasPrefix(name, "route[") {
		return o, ok
	}
	of := leaf(name)
	switch of {
	case "user", "password_file", "mechanisms", "oauth_token_url", "oauth_client_id",
		"oauth_secret_file", "oauth_scope", "oauth_token_file":
		if c.ownLogin(section(name)) {
			return o, false
		}
	case "connections":
		of = "connections_per_domain"
	}
	o, ok = c.origin["outbound."+of]
	return o, ok
}

// Diff lists the keys whose values differ, in the order of the sample. An entry
// of a table that only one of the two has is named as a whole, as route[3].
func Diff(old, new *Config) []string {
	var changed []string
	for _, k := range slices.Concat(new.keys(), old.keys()) { // old has entries and groups that are gone
		name := k.name
		switch before, after := k.exists(old), k.exists(new); {
		case before != after:
			name = section(name)
		case before && k.show(old) == k.show(new):
			continue
		}
		if !slices.Contains(changed, name) {
			changed = append(changed, name)
		}
	}
	return changed
}

// RestartKeys returns those of the changed keys whose new value waits for a restart of the server.
func RestartKeys(changed []string) []string {
	restart := map[string]bool{}
	for _, k := range keys() {
		restart[k.name] = k.restart
	}
	return slices.DeleteFunc(slices.Clone(changed), func(name string) bool { return !restart[name] })
}

// KeyInfo describes a key of the configuration to a person.
type KeyInfo struct {
	Setting
	Section string   `json:"section"` // the part of Key before its last dot
	Kind    string   `json:"kind"`    // "a string", "a list of strings", "a whole number", "true or false"
	Doc     string   `json:"doc"`     // one paragraph
	Default string   `json:"default"` // as it would be written in the file
	Restart bool     `json:"restart"` // a running server takes a new value only when it is restarted
	Policy  bool     `json:"policy"`  // the policy file may set it
	Set     bool     `json:"set"`     // the policy file sets it
	Items   []string `json:"items"`   // of a list
	// Lines are the items of a list of hosts or addresses, with the place of each.
	Lines []policy.Line `json:"lines,omitempty"`
}

// List reports whether the value is a list.
func (k KeyInfo) List() bool { return k.Kind == string(listKind) }

// Explain lists every key outside the tables, in the order of the sample, then the groups.
func (c *Config) Explain() (all []KeyInfo) {
	docs, defaults := docs(), Default()
	for _, k := range c.keys() {
		if isEntry(k.name) {
			continue
		}
		o, _ := c.source(k.name)
		info := KeyInfo{
			Setting: Setting{Key: k.name, Value: k.show(c), Source: c.Origin(k.name)},
			Section: section(k.name), Kind: string(k.kind), Doc: docs[k.name],
			Restart: k.restart, Policy: k.inPolicyFile(), Set: o.file != "" && o.file == c.policyFile(),
			Lines: c.lines[k.name],
		}
		if !isGroup(k.name) {
			info.Default = k.show(&defaults)
		}
		if k.kind == listKind {
			info.Items = items(info.Value)
		}
		all = append(all, info)
	}
	return all
}

// items are the strings of a list as show writes it.
func items(list string) []string {
	var v struct{ V []string }
	if err := toml.Unmarshal([]byte("V = "+list), &v); err != nil {
		return nil
	}
	return v.V
}

// docs returns the text about each key. A key without one of its own has that of the key above it,
// or of its section.
func docs() map[string]string {
	all := map[string]string{}
	for _, row := range sectionRows() {
		text := row.intro
		for _, k := range row.keys {
			if k.doc != above {
				text = k.doc
			}
			all[k.name] = strings.Join(strings.Fields(text), " ")
		}
	}
	return all
}

// KeepRestartKeys takes the values that wait for a restart from the configuration in force.
func (c *Config) KeepRestartKeys(inForce *Config) {
	for _, k := range keys() {
		if k.restart {
			k.copy(c, inForce)
		}
	}
}
