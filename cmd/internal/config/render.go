package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"text/template"

	"pillarbox/mailstore/addr"
)

//go:embed pillarbox.toml.tmpl
var sampleText string

// SampleValues are the settings that a new file states; every other key stands
// in it as a comment with its default. An empty list in Listen turns that
// service off; Default().Listen has the usual ports.
type SampleValues struct {
	Hostname          addr.Domain
	Data              string // "" for the default
	DefaultDomain     addr.Domain
	Postmaster        addr.Address
	Listen            Listen
	PlaintextNetworks []netip.Prefix
}

// Render writes a commented configuration file that Load reads back to the
// same values.
func Render(v SampleValues) []byte {
	if v.Data == "" {
		v.Data = Default().Data
	}
	var b bytes.Buffer
	t := template.Must(template.New("").Funcs(sampleFuncs()).Parse(sampleText))
	if err := t.Execute(&b, v); err != nil {
		panic(err) // the template and the struct do not belong together
	}
	return b.Bytes()
}

func sampleFuncs() template.FuncMap {
	shown := map[string]string{}
	defaults := Default()
	for _, s := range defaults.Effective() {
		shown[s.Key] = s.Value
	}
	return template.FuncMap{
		"quote": func(v any) string { return quote(fmt.Sprint(v)) },
		"list":  listOf,
		"default": func(name string) (string, error) {
			value, ok := shown[name]
			if !ok {
				return "", fmt.Errorf("no key %s", name)
			}
			return value, nil
		},
	}
}

func listOf(v any) string {
	var items []string
	switch v := v.(type) {
	case []string:
		items = v
	case []netip.Prefix:
		for _, p := range v {
			items = append(items, p.String())
		}
	}
	return quoteList(items)
}
