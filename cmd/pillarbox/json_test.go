package main

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// outputs are the types of what verbs answer, by the verb's name.
func outputs() map[string]reflect.Type {
	all := make(map[string]reflect.Type)
	for _, v := range admin.Verbs() {
		do, _ := reflect.TypeOf(v).FieldByName("do")
		all[v.Name()] = do.Type.Out(0)
	}
	return all
}

// Every command that answers has --json. A command that only changes something, or that is a program
// of its own, has none.
func TestAnswersHaveJSON(t *testing.T) {
	without := []string{
		"serve", "setup", "sendmail", "winpop", // talk to people, or have a syntax of their own
		"man", "admin tls export-ca", "admin tls client-cert", // write a file in a format of its own
		"admin tls renew", // only changes something
	}
	verbs := outputs()
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			look(sub)
		}
		name := callName(cmd)
		changes := verbs[strings.TrimPrefix(name, "admin ")] == reflect.TypeFor[admin.Change]()
		family := cmd.HasSubCommands() && name != "selftest"
		if family || changes || slices.Contains(without, name) {
			return
		}
		if cmd.Flags().Lookup("json") == nil {
			t.Errorf("%s has no --json", name)
		}
	}
	look(new(app).rootCommand())
}

// An empty list is [] in JSON, at any depth of any answer.
func TestEmptyListsAreArrays(t *testing.T) {
	types := outputs()
	types["config show"] = reflect.TypeFor[[]config.Setting]()
	types["tls show"] = reflect.TypeFor[shownCertificates]()
	types["config check"] = reflect.TypeFor[configReport]()
	types["selftest"] = reflect.TypeFor[[]testedListener]()
	types["doctor"] = reflect.TypeFor[doctorReport]()
	delete(types, "tls export-ca") // has no --json
	delete(types, "tls client-cert")
	types["selftest relay"] = reflect.TypeFor[[]testedRelay]()
	for name, typ := range types {
		for depth := range 5 {
			var out bytes.Buffer
			a := &app{stdout: &out}
			if err := a.writeJSON(sample(typ, depth).Interface()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, "null") {
					t.Errorf("%s, lists empty at depth %d: %s", name, depth, line)
				}
			}
		}
	}
}

// sample is a value of a type. Its lists have one element down to a depth, and are nil below. Its
// pointers and interfaces are set, except to a type that holds itself.
func sample(typ reflect.Type, depth int, within ...reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	inner := append(slices.Clone(within), typ)
	switch kind := typ.Kind(); {
	case kind == reflect.Interface:
		v.Set(reflect.ValueOf("x"))
	case kind == reflect.Pointer && !slices.Contains(within, typ.Elem()):
		v.Set(reflect.New(typ.Elem()))
		v.Elem().Set(sample(typ.Elem(), depth, inner...))
	case encodesItself(typ):
	case kind == reflect.Struct:
		for i := range typ.NumField() {
			if v.Field(i).CanSet() {
				v.Field(i).Set(sample(typ.Field(i).Type, depth, inner...))
			}
		}
	case kind == reflect.Slice && depth > 0:
		v.Set(reflect.Append(v, sample(typ.Elem(), depth-1, inner...)))
	}
	return v
}
