package durable

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strconv"
	"strings"
)

// Version is the version of the files in a data directory. A JSON file may have its own in the
// member "version", such as "1.2"; without one it is OldVersion. VersionFile names the version of
// the last release that served the directory.
//
// A new minor number means that members were added that an older release may ignore, as long as it
// keeps them. A new major number means that an older release must not touch the data.
type Version struct{ Major, Minor int }

// The known versions. A release that adds a member that older ones may ignore raises the minor
// number of CurrentVersion. It writes this version into each file that has such a member, see
// Encode.
func OldVersion() Version     { return Version{1, 0} }
func CurrentVersion() Version { return Version{1, 0} }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Newer reports whether v is later than other.
func (v Version) Newer(other Version) bool {
	return v.Major > other.Major || v.Major == other.Major && v.Minor > other.Minor
}

// ParseVersion parses a version such as "1.2".
func ParseVersion(text string) (Version, error) {
	major, minor, ok := strings.Cut(text, ".")
	x, err := strconv.ParseUint(major, 10, 16)
	y, err2 := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil || err2 != nil || x == 0 {
		return Version{}, fmt.Errorf(`%q is not a version such as "1.0"`, text)
	}
	return Version{int(x), int(y)}, nil
}

// NewerError means that a newer release wrote data that this release must not touch.
type NewerError struct{ Version Version }

func (e *NewerError) Error() string {
	return fmt.Sprintf("a newer release wrote it, in version %s of the files; this one knows %d.x",
		e.Version, CurrentVersion().Major)
}

const versionMember = "version"

// DecodeStrict parses the JSON of a file into v, a pointer to a struct. It refuses unknown members:
// a typing error must not silently permit more, or less. A file of a newer minor version may have
// unknown members; Encode keeps them. A file of a newer major version is refused with a
// *NewerError.
func DecodeStrict(text []byte, v any) error {
	strict := decodeWhole(text, v, true)
	if strict == nil {
		return nil
	}
	version, said, err := versionOf(text)
	switch {
	case !said || err != nil:
		return errors.Join(err, explainJSON(strict, text))
	case version.Major > CurrentVersion().Major:
		return &NewerError{version}
	}
	reflect.ValueOf(v).Elem().SetZero()
	if version.Newer(CurrentVersion()) {
		return explainJSON(decodeWhole(text, v, false), text)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return explainJSON(err, text)
	}
	delete(members, versionMember)
	rest, err := json.Marshal(members)
	if err != nil {
		return err
	}
	return explainJSON(decodeWhole(rest, v, true), rest)
}

// decodeWhole parses one value with nothing after it.
func decodeWhole(text []byte, v any, strict bool) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected text after the last brace")
	}
	return nil
}

// versionOf returns the version in a file. said is false if the file has none or is not JSON.
func versionOf(text []byte) (v Version, said bool, err error) {
	var file struct {
		Version *string `json:"version"`
	}
	if json.Unmarshal(text, &file) != nil || file.Version == nil {
		return OldVersion(), false, nil
	}
	v, err = ParseVersion(*file.Version)
	return v, true, err
}

// explainJSON rewords an error for a person who edits the file.
func explainJSON(err error, text []byte) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at := min(max(syntax.Offset-1, 0), int64(len(text)))
		return fmt.Errorf("line %d is not JSON: %s", 1+bytes.Count(text[:at], []byte("\n")), syntax)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("member %q must not be a %s", kind.Field, kind.Value)
	}
	switch {
	case err == nil:
		return nil
	case len(bytes.TrimSpace(text)) == 0:
		return errors.New("it is empty")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it is incomplete")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("it has the member %s, which does not exist", name)
	}
	return err
}

// Encode returns the text of a file with the content v, a struct or a pointer to one. old is the
// present text of the file, or nil. Encode keeps its version and the members that a newer release
// added, at every place that v still has.
func Encode(v any, old []byte) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if version, _, err := versionOf(old); err == nil && version.Newer(CurrentVersion()) {
		if text, err = keepUnknown(text, old, reflect.TypeOf(v)); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// WriteJSON replaces a file with the JSON of v, and keeps what a newer release wrote into the file.
func WriteJSON(fsys FS, name string, v any) error {
	old, err := ReadSmall(fsys, name, MaxSmall)
	_, odd := errors.AsType[*FileError](err)
	if err != nil && !odd && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := Encode(v, old)
	if err != nil {
		return err
	}
	return WriteFile(fsys, name, text, 0o600)
}

// keepUnknown adds to text, the JSON of a t, the members of old that t does not have.
func keepUnknown(text, old json.RawMessage, t reflect.Type) (json.RawMessage, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if unmarshalsItself(t) {
		return text, nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return keepInObject(text, old, fieldTypes(t), nil)
	case reflect.Map:
		return keepInObject(text, old, nil, t.Elem())
	case reflect.Slice, reflect.Array:
		return keepInList(text, old, t.Elem())
	}
	return text, nil
}

func unmarshalsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// keepInObject is keepUnknown for an object: a struct with these members, or a map whose values
// have one type.
func keepInObject(
	text, old json.RawMessage, members map[string]reflect.Type, value reflect.Type,
) (json.RawMessage, error) {
	var now, before map[string]json.RawMessage
	if json.Unmarshal(text, &now) != nil || json.Unmarshal(old, &before) != nil || now == nil {
		return text, nil // one is null or has another type
	}
	for name, was := range before {
		t := value
		if t == nil {
			if t = members[strings.ToLower(name)]; t == nil {
				now[name] = was
				continue
			}
		}
		is, ok := now[name]
		if !ok {
			continue
		}
		kept, err := keepUnknown(is, was, t)
		if err != nil {
			return nil, err
		}
		now[name] = kept
	}
	return json.Marshal(now)
}

// keepInList is keepUnknown for a list. Elements match if their known members are equal.
func keepInList(text, old json.RawMessage, t reflect.Type) (json.RawMessage, error) {
	var now, before []json.RawMessage
	if json.Unmarshal(text, &now) != nil || json.Unmarshal(old, &before) != nil {
		return text, nil
	}
	was := make(map[string]json.RawMessage, len(before))
	for _, one := range before {
		v := reflect.New(t)
		if json.Unmarshal(one, v.Interface()) != nil {
			continue
		}
		if known, err := json.Marshal(v.Interface()); err == nil {
			was[string(known)] = one
		}
	}
	for i, is := range now {
		if same, ok := was[string(is)]; ok {
			kept, err := keepUnknown(is, same, t)
			if err != nil {
				return nil, err
			}
			now[i] = kept
		}
	}
	return json.Marshal(now)
}

// fieldTypes returns the JSON members of a struct by name in lower case, because encoding/json
// ignores case.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	all := make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		all[strings.ToLower(name)] = f.Type
	}
	return all
}

// VersionFile is the file in a data directory that names this version. A server writes its own
// version there when it starts, unless the file names a newer one or is damaged.
const VersionFile = "version"

// DataVersion returns the version of a data directory, OldVersion if it has no VersionFile.
func DataVersion(fsys FS) (Version, error) {
	text, err := ReadSmall(fsys, VersionFile, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return OldVersion(), nil
	} else if err != nil {
		return Version{}, err
	}
	v, err := ParseVersion(strings.TrimSpace(string(text)))
	if err != nil {
		return Version{}, fmt.Errorf("%s: %w", VersionFile, err)
	}
	return v, nil
}

// WriteDataVersion writes CurrentVersion into a data directory.
func WriteDataVersion(fsys FS) error {
	return WriteFile(fsys, VersionFile, []byte(CurrentVersion().String()+"\n"), 0o600)
}
