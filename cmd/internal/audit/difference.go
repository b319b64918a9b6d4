package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
)

// Differences compares the JSON forms of two values and returns the members that differ. Objects
// are compared member by member. Lists are reduced to the removed and the added elements.
//
// A nil value means that there is no object; its result is nil, and the other result leaves out
// empty members. secret selects members of the outermost object by name: their values are replaced
// by "set", or by "changed" in the second result if the first has the member too.
func Differences(before, after any, secret func(name string) bool) (json.RawMessage, json.RawMessage, error) {
	old, err := members(before)
	if err != nil {
		return nil, nil, err
	}
	next, err := members(after)
	if err != nil {
		return nil, nil, err
	}
	if old != nil && next != nil {
		dropCommon(old, next)
	} else {
		dropEmpty(old)
		dropEmpty(next)
	}
	for name := range next {
		if secret(name) {
			next[name] = "set"
			if _, was := old[name]; was {
				next[name] = "changed"
			}
		}
	}
	for name := range old {
		if secret(name) {
			old[name] = "set"
		}
	}
	was, err := encodeMembers(old)
	if err != nil {
		return nil, nil, err
	}
	is, err := encodeMembers(next)
	return was, is, err
}

// members returns the members of the JSON form of v, nil for a nil pointer, map or interface.
func members(v any) (map[string]any, error) {
	if r := reflect.ValueOf(v); !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil() || r.Kind() == reflect.Map && r.IsNil() {
		return nil, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // sizes have more digits than a float64
	m := map[string]any{}
	return m, dec.Decode(&m)
}

func encodeMembers(m map[string]any) (json.RawMessage, error) {
	if m == nil {
		return nil, nil
	}
	return json.Marshal(m)
}

// dropEmpty removes members that are null, false, 0, "", or an empty list or object.
func dropEmpty(m map[string]any) {
	maps.DeleteFunc(m, func(_ string, v any) bool {
		switch v := v.(type) {
		case nil:
			return true
		case bool:
			return !v
		case string:
			return v == ""
		case json.Number:
			return v == "0"
		case []any:
			return len(v) == 0
		case map[string]any:
			return len(v) == 0
		}
		return false
	})
}

// dropCommon removes from both the members, and the elements of lists, that are equal.
func dropCommon(a, b map[string]any) {
	for name, was := range a {
		is, there := b[name]
		if !there {
			continue
		}
		if reflect.DeepEqual(was, is) {
			delete(a, name)
			delete(b, name)
			continue
		}
		inA, okA := was.(map[string]any)
		inB, okB := is.(map[string]any)
		if okA && okB {
			dropCommon(inA, inB)
		}
		listA, okA := was.([]any)
		listB, okB := is.([]any)
		if okA && okB {
			a[name], b[name] = onlyIn(listA, listB), onlyIn(listB, listA)
			if len(a[name].([]any))+len(b[name].([]any)) == 0 {
				b[name] = "the same in another order"
			}
		}
	}
}

// onlyIn returns the elements that list contains more often than other.
func onlyIn(list, other []any) []any {
	count := map[string]int{}
	for _, v := range other {
		count[textOf(v)]++
	}
	rest := []any{}
	for _, v := range list {
		if text := textOf(v); count[text] > 0 {
			count[text]--
		} else {
			rest = append(rest, v)
		}
	}
	return rest
}

// textOf returns the JSON form of a value, with its members in alphabetical order.
func textOf(v any) string {
	text, _ := json.Marshal(v) // never fails: v was decoded from JSON
	return string(text)
}
