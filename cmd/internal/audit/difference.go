package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
)

// Differences holds two values against each other as they are in JSON and keeps
// what is different, objects member by member; of lists, what came and what went. A nil value is none, and stays
// nil; of what comes or goes as a whole, members that say nothing are left out. Of
// what secret says by the name of a member of the outermost object, only
// "set", or "changed" instead of another one, is told.
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

// members is a value as an object of JSON; nil for a nil pointer or interface.
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

// dropEmpty takes out what says nothing: false, 0, "", and empty lists and objects.
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

// dropCommon takes out of both what they have in common.
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

// onlyIn is what a list has and another has not, or not as often.
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

// textOf is a value as JSON, its members in alphabetical order.
func textOf(v any) string {
	text, _ := json.Marshal(v) // it came from there
	return string(text)
}
