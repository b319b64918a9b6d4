package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

func newLog(t *testing.T) (*Log, *mailtest.FailFS, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	fsys := mailtest.NewFailFS(root)
	return Open(fsys), fsys, dir
}

func every(Event) bool { return true }

func objects(all []Event) string {
	var names []string
	for _, e := range all {
		names = append(names, e.Object)
	}
	return strings.Join(names, " ")
}

func add(t *testing.T, l *Log, e Event) {
	t.Helper()
	if err := l.Add(e); err != nil {
		t.Fatal(err)
	}
}

func TestAddAndRead(t *testing.T) {
	l, _, dir := newLog(t)
	at := time.Date(2026, 11, 21, 8, 0, 0, 123456789, time.FixedZone("", 3600))
	want := Event{
		Time: at, Who: "root (sudo by carol)", From: "command line, pts/1", Act: "mailbox rename", Object: "anna@office.example",
		Next: "ann@office.example", Before: json.RawMessage(`{"a":1}`), After: json.RawMessage(`{"a":2}`),
	}
	add(t, l, want)
	got, damaged, err := l.Read(every, 0)
	if err != nil || damaged != 0 || len(got) != 1 {
		t.Fatalf("%v, %d damaged, %v", got, damaged, err)
	}
	want.Time = time.Date(2026, 11, 21, 7, 0, 0, 123000000, time.UTC)
	if fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got[0], want)
	}
	info, err := os.Stat(filepath.Join(dir, file))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestLinesThatAreDamagedAreSkipped(t *testing.T) {
	l, _, dir := newLog(t)
	add(t, l, Event{Object: "one"})
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3*maxLine)
	if _, err := f.WriteString("\n{}\n" + long + "\n[1]\n{\"time\":\"2026-11-21T07:00:00Z\",\"obj"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	add(t, l, Event{Object: "two"})
	got, damaged, err := l.Read(every, 0)
	if objects(got) != "one two" || damaged != 4 || err != nil {
		t.Errorf("%s, %d damaged, %v", objects(got), damaged, err)
	}
}

func TestRotation(t *testing.T) {
	l, _, dir := newLog(t)
	l.max = 200
	const events = 40
	for i := range events {
		add(t, l, Event{Object: fmt.Sprint(i)})
	}
	names, _ := filepath.Glob(filepath.Join(dir, "audit*.log"))
	if len(names) != Keep+1 {
		t.Errorf("there are %v", names)
	}
	got, _, err := l.Read(every, 3)
	if objects(got) != "37 38 39" || err != nil {
		t.Errorf("the last three are %s, %v", objects(got), err)
	}
	got, _, _ = l.Read(func(e Event) bool { return e.Object == "36" || e.Object == "39" }, 5)
	if objects(got) != "36 39" {
		t.Errorf("chosen are %s", objects(got))
	}
	got, _, _ = l.Read(every, 0)
	if len(got) < 2*Keep || got[len(got)-1].Object != "39" {
		t.Errorf("all are %s", objects(got))
	}
	for i, e := range got {
		if e.Object != fmt.Sprint(events-len(got)+i) {
			t.Fatalf("not in order: %s", objects(got))
		}
	}
}

func TestWritersDoNotMix(t *testing.T) {
	l, fsys, _ := newLog(t)
	other := Open(fsys)
	l.max, other.max = 2000, 2000
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for range 10 {
				if err := []*Log{l, other}[i%2].Add(Event{Object: "x"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if got, damaged, err := l.Read(every, 0); len(got) != 40 || damaged != 0 || err != nil {
		t.Errorf("%d events, %d damaged, %v", len(got), damaged, err)
	}
}

// A failed operation keeps the old events, and the next event is written.
func TestADiskThatFails(t *testing.T) {
	broken := errors.New("broken")
	for n, all := 1, 1; n <= all; n++ {
		l, fsys, _ := newLog(t)
		l.max = 300
		for _, name := range []string{"a", "b", "c", "d"} {
			add(t, l, Event{Object: name})
		}
		fsys.Start(mailtest.Nth(n, broken))
		err := l.Add(Event{Object: "lost"})
		all = len(fsys.Ops())
		fsys.Start(nil)
		if err != nil && !errors.Is(err, broken) {
			t.Fatal(err)
		}
		add(t, l, Event{Object: "e"})
		got, damaged, err := l.Read(func(e Event) bool { return e.Object != "lost" }, 0)
		if objects(got) != "a b c d e" || damaged > 0 || err != nil {
			t.Fatalf("%d: %s, %d damaged, %v", n, objects(got), damaged, err)
		}
	}
}

func TestTooLong(t *testing.T) {
	l, _, _ := newLog(t)
	text, _ := json.Marshal(map[string]string{"a": strings.Repeat("\x00", maxLine)})
	many := map[string]string{}
	for i := range maxLine / 16 {
		many[strings.Repeat("x", 16)+strconv.Itoa(i)] = ""
	}
	members, _ := json.Marshal(many)
	add(t, l, Event{Object: "long", Before: text, After: members})
	got, damaged, err := l.Read(every, 0)
	if objects(got) != "long" || damaged != 0 || err != nil || string(got[0].After) != `{"":"too long to be kept"}` {
		t.Errorf("%s, %d damaged, %v", objects(got), damaged, err)
	}
}

// A long event keeps the beginning of each member and the length of the rest.
func TestShorten(t *testing.T) {
	list := make([]string, 5000)
	for i := range list {
		list[i] = fmt.Sprintf("%04d", i)
	}
	object := map[string]any{
		"bool": true, "few": []string{"thief"}, "many": list, "text": strings.Repeat("ä", maxMember), "group": map[string]any{"members": list, "z": 1},
		"names": map[string]any{"a": strings.Repeat("x", maxMember), "b": 1, "c": 2},
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	short := shorten(text)
	if len(short) > 5*maxMember {
		t.Errorf("%d octets are left", len(short))
	}
	var got struct {
		Bool      bool
		Few, Many []string
		Text      string
		Group     map[string]any
		Names     map[string]any
	}
	if err := json.Unmarshal(short, &got); err != nil {
		t.Fatal(err)
	}
	n := len(got.Many) - 1
	if !got.Bool || !slices.Equal(got.Few, []string{"thief"}) || n < 3000 || got.Many[0] != "0000" || got.Many[n] != fmt.Sprintf("and %d more", 5000-n) {
		t.Errorf("%v, %q, %d", got.Bool, got.Few, n)
	}
	if !strings.HasPrefix(got.Text, "ää") || !strings.Contains(got.Text, "… and 3") || !utf8.ValidString(got.Text) {
		t.Errorf("%q", got.Text[len(got.Text)-100:])
	}
	if len(got.Group) != 2 || got.Group[""] != "and 1 more" || len(got.Names) != 2 || got.Names[""] != "and 2 more" {
		t.Errorf("%v", got.Names[""])
	}
	if same := json.RawMessage(`{"a":["b"]}`); !bytes.Equal(shorten(same), same) {
		t.Error("what is short is changed")
	}
}

func TestConcerns(t *testing.T) {
	tests := []struct {
		object, asked string
		want          bool
	}{
		{"anna@office.example", "Anna@Office.Example", true},
		{"anna@office.example", "office.example", true},
		{"anna@office.example", "ice.example", false},
		{"anna@sub.office.example", "office.example", false},
		{"office.example", "office.example", true},
		{"m1._domainkey.office.example", "office.example", true},
		{"device scanner", "device scanner", true},
		{"queue", "office.example", false},
		{"", "office.example", false},
	}
	for _, tt := range tests {
		if got := (Event{Object: tt.object}).Concerns(tt.asked); got != tt.want {
			t.Errorf("%q concerns %q: %v", tt.object, tt.asked, got)
		}
	}
	if renamed := (Event{Object: "a@x.example", Next: "b@y.example"}); !renamed.Concerns("b@y.example") || !renamed.Concerns("y.example") {
		t.Error("the new name does not count")
	}
	if In("anna@office.example", addr.Domain("example")) {
		t.Error("a part of a domain's name counts")
	}
}

func TestDifferences(t *testing.T) {
	type group struct {
		Members []string `json:"members"`
		Accept  string   `json:"accept,omitempty"`
	}
	type account struct {
		Secret string           `json:"secret,omitempty"`
		Size   int64            `json:"size,omitempty"`
		Groups map[string]group `json:"groups,omitempty"`
	}
	all := account{Secret: "hidden", Size: 1 << 60, Groups: map[string]group{"a": {Members: []string{"x"}}, "b": {Members: []string{"y"}}}}
	other := all
	other.Groups = map[string]group{"a": {Members: []string{"x"}}, "b": {Members: []string{"y"}, Accept: "inside"}}
	tests := []struct {
		name          string
		before, after any
		was, is       string
	}{
		{"nothing", nil, nil, "", ""},
		{"nil pointers", (*account)(nil), (*account)(nil), "", ""},
		{"new", nil, &account{Secret: "hidden", Size: 5}, "", `{"secret":"set","size":5}`},
		{"gone", &account{Secret: "hidden"}, (*account)(nil), `{"secret":"set"}`, ""},
		{"new and empty", nil, &account{}, "", `{}`},
		{"the same", &all, &all, `{}`, `{}`},
		{"a large number", &account{Size: 1 << 60}, &account{Size: 1<<60 + 1}, `{"size":1152921504606846976}`, `{"size":1152921504606846977}`},
		{"deep", &all, &other, `{"groups":{"b":{}}}`, `{"groups":{"b":{"accept":"inside"}}}`},
		{"in a list", &account{Groups: map[string]group{"a": {Members: []string{"x", "y", "z", "y"}}}}, &account{Groups: map[string]group{"a": {Members: []string{"z", "y", "w", "x"}}}},
			`{"groups":{"a":{"members":["y"]}}}`, `{"groups":{"a":{"members":["w"]}}}`},
		{"a list in another order", &account{Groups: map[string]group{"a": {Members: []string{"x", "y"}}}}, &account{Groups: map[string]group{"a": {Members: []string{"y", "x"}}}},
			`{"groups":{"a":{"members":[]}}}`, `{"groups":{"a":{"members":"the same in another order"}}}`},
		{"secret changed", &account{Secret: "hidden"}, &account{Secret: "veiled"}, `{"secret":"set"}`, `{"secret":"changed"}`},
		{"secret set", &account{}, &account{Secret: "veiled"}, `{}`, `{"secret":"set"}`},
		{"secret taken", &account{Secret: "hidden"}, &account{}, `{"secret":"set"}`, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			was, is, err := Differences(tt.before, tt.after, func(name string) bool { return name == "secret" })
			if string(was) != tt.was || string(is) != tt.is || err != nil {
				t.Errorf("got  %s, %s, %v\nwant %s, %s", was, is, err, tt.was, tt.is)
			}
		})
	}
}
