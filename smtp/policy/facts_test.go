package policy

import (
	"reflect"
	"strings"
	"testing"
)

// Every fact belongs to the client or to the transaction, and has a JSON name of its own:
// encoding/json drops fields with the same name without an error.
func TestEveryFactHasAnOwner(t *testing.T) {
	facts := reflect.TypeFor[Facts]()
	owners := []reflect.Type{reflect.TypeFor[Client](), reflect.TypeFor[Transaction]()}
	if facts.NumField() != len(owners) {
		t.Fatalf("Facts has %d fields, want Client and Transaction only", facts.NumField())
	}
	for i, owner := range owners {
		if field := facts.Field(i); field.Type != owner || !field.Anonymous {
			t.Errorf("field %d is %s, want %s embedded", i, field.Name, owner)
		}
	}
	seen := map[string]string{}
	for _, field := range reflect.VisibleFields(facts) {
		if field.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || seen[name] != "" {
			t.Errorf("%s: the JSON name %q is missing or taken by %q", field.Name, name, seen[name])
		}
		seen[name] = field.Name
	}
}
