package durable

import "reflect"

// KeepUnknown adds to text, the JSON of v, the members of old that the type of v does not have, at
// every place that v still has. Two list elements match if their known members are equal. It is for
// files whose version is not written by Encode.
func KeepUnknown(text, old []byte, v any) ([]byte, error) {
	return keepUnknown(text, old, reflect.TypeOf(v))
}
