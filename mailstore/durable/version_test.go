package durable

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

type versioned struct {
	Name   string                `json:"name,omitempty"`
	Groups map[string]versionedG `json:"groups,omitempty"`
	Certs  []versionedC          `json:"certs,omitempty"`
	versionedLimits
}

type versionedG struct {
	Members []string `json:"members,omitempty"`
}

type versionedC struct {
	Key string `json:"key"`
}

type versionedLimits struct {
	Quota int `json:"quota,omitempty"`
}

func TestDecodeStrictByVersion(t *testing.T) {
	for _, test := range []struct{ text, err string }{
		{`{"name": "a"}`, ""},
		{`{"version": "1.0", "name": "a"}`, ""},
		{`{"version": "1.7", "name": "a"}`, ""},
		{`{"version": "1.7", "name": "a", "new": {"x": [1]}, "groups": {"g": {"new": true}}}`, ""},
		{`{"name": "a", "new": 1}`, `the member "new", which does not exist`},
		{`{"version": "1.0", "name": "a", "new": 1}`, `the member "new", which does not exist`},
		{`{"name": "a", "groups": {"g": {"nwe": true}}}`, `the member "nwe", which does not exist`},
		{`{"version": "2.0", "name": "a"}`, "a newer release wrote it, in version 2.0"},
		{`{"version": "2.0", "name": {"shape": "another"}}`, "a newer release wrote it, in version 2.0"},
		{`{"version": "1", "name": "a"}`, `"1" is not a version such as "1.0"`},
		{`{"version": "1.7", "name": 7}`, `member "name" must not be a number`},
		{``, "it is empty"},
		{" \n", "it is empty"},
		{`{"name": "a"`, "it is incomplete"},
		{"{\n\n\"name\": 'a'}", "line 3 is not JSON"},
		{strings.Repeat("\x00", 9), "line 1 is not JSON"},
		{`{"name": "a"} {"name": "b"}`, "unexpected text after the last brace"},
		{`hello`, "line 1 is not JSON"},
	} {
		var v versioned
		err := DecodeStrict([]byte(test.text), &v)
		if test.err == "" && (err != nil || v.Name != "a") || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: %v, %+v; want %q", test.text, err, v, test.err)
		}
	}
	var newer *NewerError
	if err := DecodeStrict([]byte(`{"version": "2.0"}`), new(versioned)); !errors.As(err, &newer) || newer.Version != (Version{2, 0}) {
		t.Errorf("%v", err)
	}
}

// TestEncodeKeepsWhatANewerReleaseWrote changes known members of a file around unknown ones.
func TestEncodeKeepsWhatANewerReleaseWrote(t *testing.T) {
	old := `{"version": "1.3", "name": "a", "quota": 5, "new": [1, 2.50],
		"groups": {"keep": {"members": ["x"], "new": {"y": "<"}}, "gone": {"new": 1}},
		"certs": [{"key": "k1", "new": 1}, {"key": "k2", "new": 2}, {"key": "k3"}]}`
	var v versioned
	if err := DecodeStrict([]byte(old), &v); err != nil {
		t.Fatal(err)
	}
	v.Name, v.Quota = "", 0 // known members that are removed must not come back
	v.Groups = map[string]versionedG{"keep": {Members: []string{"z"}}, "made": {}}
	v.Certs = v.Certs[1:]
	text, err := Encode(&v, []byte(old))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version": "1.3", "new": [1, 2.50],
		"groups": {"keep": {"members": ["z"], "new": {"y": "<"}}, "made": {}},
		"certs": [{"key": "k2", "new": 2}, {"key": "k3"}]}`
	var is, should any
	if err := errors.Join(json.Unmarshal(text, &is), json.Unmarshal([]byte(want), &should)); err != nil || !reflect.DeepEqual(is, should) {
		t.Errorf("%v\n%s", err, text)
	}
	// The text of a file of this release, or of a new one, is unchanged.
	for _, old := range []string{"", `{"version": "1.0"}`, `{"new": 1}`, "no JSON"} {
		text, err := Encode(versioned{Name: "a"}, []byte(old))
		if err != nil || string(text) != "{\n  \"name\": \"a\"\n}\n" {
			t.Errorf("%q: %v\n%s", old, err, text)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, ok := range map[string]bool{"1.0": true, "12.345": true, "": false, "1": false, "0.1": false, "1.x": false, "-1.0": false, "1.0.0": false} {
		if v, err := ParseVersion(text); (err == nil) != ok || ok && v.String() != text {
			t.Errorf("%q: %v, %v", text, v, err)
		}
	}
	if !(Version{1, 1}).Newer(Version{1, 0}) || !(Version{2, 0}).Newer(Version{1, 9}) || (Version{1, 0}).Newer(Version{1, 0}) || (Version{1, 9}).Newer(Version{2, 0}) {
		t.Error("order")
	}
}
