package main

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
)

func addJSON(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "write JSON")
}

// writeJSON writes a value for programs. An empty list is [], never null.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(withLists(v))
}

// withLists returns a copy of v whose nil lists and maps are empty ones. Types that encode themselves
// stay as they are, and so do fields that JSON leaves out.
func withLists(v any) any {
	if v == nil {
		return nil
	}
	return filled(reflect.ValueOf(v)).Interface()
}

func filled(v reflect.Value) reflect.Value {
	if encodesItself(v.Type()) {
		return v
	}
	switch v.Kind() {
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v // a string in base64
		}
		return filledList(reflect.MakeSlice(v.Type(), v.Len(), v.Len()), v)
	case reflect.Array:
		return filledList(reflect.New(v.Type()).Elem(), v)
	case reflect.Map:
		out := reflect.MakeMapWithSize(v.Type(), v.Len())
		for key, value := range v.Seq2() {
			out.SetMapIndex(key, filled(value))
		}
		return out
	case reflect.Pointer, reflect.Interface:
		return filledTarget(v)
	case reflect.Struct:
		return filledStruct(v)
	}
	return v
}

func filledList(out, v reflect.Value) reflect.Value {
	for i := range v.Len() {
		out.Index(i).Set(filled(v.Index(i)))
	}
	return out
}

func filledTarget(v reflect.Value) reflect.Value {
	if v.IsNil() {
		return v
	}
	target := filled(v.Elem())
	if v.Kind() == reflect.Interface {
		return target
	}
	out := reflect.New(v.Type().Elem())
	out.Elem().Set(target)
	return out
}

func filledStruct(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("json")
		field := out.Field(i)
		leftOut := tag == "-" || strings.Contains(tag, ",omitzero") && field.IsZero()
		if field.CanSet() && !leftOut {
			field.Set(filled(field))
		}
	}
	return out
}

// encodesItself reports whether a type, or a pointer to it, decides what its JSON is.
func encodesItself(t reflect.Type) bool {
	for _, marshaler := range []reflect.Type{
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](),
	} {
		if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
			return true
		}
	}
	return false
}
