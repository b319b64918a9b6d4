package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shorten cuts every member of an object to about maxMember octets. Without it, a few long events
// would push older events out of the log, and an operator could hide an act in a long one.
func shorten(object json.RawMessage) json.RawMessage {
	if len(object) <= maxMember {
		return object
	}
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	all := map[string]any{}
	if dec.Decode(&all) != nil {
		return object
	}
	for name, v := range all {
		room := maxMember
		all[name] = cut(v, &room)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return object
	}
	return text
}

// cut returns the beginning of a value that fits into room octets, and subtracts its length from
// room.
func cut(v any, room *int) any {
	const little = 4 // the length of the quotes and separators of JSON, about
	*room -= little
	switch v := v.(type) {
	case string:
		had := max(*room, 0)
		*room -= len(v)
		if len(v) > had {
			return strings.ToValidUTF8(v[:had], "") + fmt.Sprintf("… and %d octets more", len(v)-had)
		}
	case []any:
		for i := range v {
			if *room <= 0 {
				return append(v[:i], fmt.Sprintf("and %d more", len(v)-i))
			}
			v[i] = cut(v[i], room)
		}
	case map[string]any:
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if *room <= 0 {
				v[""] = fmt.Sprintf("and %d more", len(v)-i)
				maps.DeleteFunc(v, func(other string, _ any) bool { return other >= name })
				break
			}
			*room -= len(name)
			v[name] = cut(v[name], room)
		}
	}
	return v
}
