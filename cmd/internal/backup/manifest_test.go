package backup

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCompare(t *testing.T) {
	want := []string{
		"config/pillarbox.toml", "data/a", "data/z", "data/pickup/", "data/pickup/x", "data/queue/",
		"data/queue/a.eml", "data/queue/quarantine/", "data/queue/quarantine/a", "data/badmail/b",
		"data/mailbox/o/", "data/mailbox/o/domain.json", "data/mailbox/o/P3_a.mbx/",
		"data/mailbox/o/P3_a.mbx/1", "data/mailbox/o/P3_a.mbx/pickup/1", "data/mailbox/o/P3_a.mbx/queue/1",
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compare)
	if !slices.Equal(got, want) {
		t.Errorf("order: %q", got)
	}
}

// written returns a manifest with these entries.
func written(t testing.TB, entries ...Entry) []byte {
	var out bytes.Buffer
	w := newManifestWriter(&out)
	for i := range entries {
		if err := w.add(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zipped compresses the text of a manifest, with a last line that fits.
func zipped(t testing.TB, text string, count string) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	sum := sha256.Sum256([]byte(text))
	_, err := io.WriteString(w, text+"end "+count+" "+hexOf(sum)+"\n")
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func hexOf(sum [sha256.Size]byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, b := range sum {
		s.WriteByte(digits[b>>4])
		s.WriteByte(digits[b&15])
	}
	return s.String()
}

var testPacks = []Pack{{Stored: Stored{Name: "20261201T020000Z-0001.tar", Size: 10_000}}}

func readAll(text []byte) (all []Entry, err error) {
	r, err := newManifestReader(bytes.NewReader(text), testPacks)
	for err == nil {
		var e Entry
		if e, err = r.next(); err == nil {
			all = append(all, e)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return all, err
}

func TestManifest(t *testing.T) {
	want := []Entry{
		{Path: "config/pillarbox.toml", Mode: 0o600, Size: 5, Modified: time.Unix(1, 2), Offset: 512},
		{Path: "data/odd \n\xff\"name", Mode: 0o644, Size: 7, Modified: time.Unix(-1, 0), Sum: [32]byte{1, 2}},
		{Path: "data/mailbox/", Mode: 0o700, Modified: time.Unix(5, 0)},
	}
	got, err := readAll(written(t, want...))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("read %v: %v", got, err)
	}
	text := written(t, want...)
	for n := range text { // cut short anywhere
		if _, err := readAll(text[:n]); err == nil {
			t.Fatalf("a manifest of %d of %d octets counts as whole", n, len(text))
		}
	}
}

// TestHostileManifest checks that entries which lead elsewhere are refused.
func TestHostileManifest(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for _, line := range []string{
		`600 1 0 0 0 ` + sum + ` "data/../../etc/passwd"`,
		`600 1 0 0 0 ` + sum + ` "/etc/passwd"`,
		`600 1 0 0 0 ` + sum + ` "data//x"`,
		`600 1 0 0 0 ` + sum + ` "data/./x"`,
		`600 1 0 0 0 ` + sum + ` "data/a\x00b"`,
		`600 1 0 0 0 ` + sum + ` "other/x"`,
		`4600 1 0 0 0 ` + sum + ` "data/setuid"`,
		`600 -1 0 0 0 ` + sum + ` "data/x"`,
		`600 99999999999999999 0 0 0 ` + sum + ` "data/x"`,
		`600 1 0 1 0 ` + sum + ` "data/x"`,
		`600 1 0 -1 0 ` + sum + ` "data/x"`,
		`600 1 0 0 9223372036854775807 ` + sum + ` "data/x"`,
		`600 1 0 0 10000 ` + sum + ` "data/x"`,
		`600 1 0 0 0 00 "data/x"`,
		`600 1 0 0 0 ` + sum + ` data/x`,
		`600 1`,
		"600 1 0 0 0 " + sum + " \"data/b\"\n600 1 0 0 0 " + sum + ` "data/a"`,
		"600 1 0 0 0 " + sum + " \"data/a\"\n600 1 0 0 0 " + sum + ` "data/a"`,
	} {
		all, err := readAll(zipped(t, firstLine+line+"\n", "1"))
		if err == nil || len(all) > 1 {
			t.Errorf("accepted %q", line)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add("600 1 0 0 0 " + strings.Repeat("0", 64) + ` "data/x"` + "\n")
	f.Add("600 1 0 0 0 " + strings.Repeat("a", 64) + ` "data/x\xff/"` + "\n")
	f.Fuzz(func(t *testing.T, lines string) {
		count := "1"
		all, err := readAll(zipped(t, firstLine+lines, count))
		for _, e := range all {
			if e.check(testPacks) != nil || e.Mode&^0o777 != 0 || strings.Contains(e.Path, "/../") {
				t.Errorf("read the entry %+v", e)
			}
		}
		if err == nil { // what was accepted is written and read again
			again, err := readAll(written(t, all...))
			if err != nil || !slices.EqualFunc(again, all, func(a, b Entry) bool {
				am, bm := a.Modified, b.Modified
				a.Modified, b.Modified = time.Time{}, time.Time{}
				return a == b && am.Equal(bm)
			}) {
				t.Errorf("%v became %v: %v", all, again, err)
			}
		}
	})
}

// FuzzManifestBytes reads what was never a manifest.
func FuzzManifestBytes(f *testing.F) {
	f.Add(written(f, Entry{Path: "data/x", Mode: 0o600, Size: 1}))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = readAll(text) })
}
