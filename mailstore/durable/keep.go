package durable

import "reflect"

// KeepUnknown adds to text, the JSON of v, the members that old has and the type of v does not know, at every place that
// v still has. Elements of lists belong together if what is known of them is the same. It is for files that say their
// version in another way than those of Encode.
func KeepUnknown(text, old []byte, v any) ([]byte, error) {
	return keepUnknown(text, old, reflect.TypeOf(v))
}
