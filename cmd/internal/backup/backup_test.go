package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

const box = "mailbox/office.example/P3_anna.mbx/"

// message returns the name and the content of a message in anna's mailbox.
func message(i int) (name, text string) {
	text = strings.Repeat(fmt.Sprintf("message %d\r\n", i), i%7+1)
	return fmt.Sprintf("%sP3_20261122090047012300%06d_%d.eml", box, i, len(text)), text
}

// put writes files into a tree.
func put(t *testing.T, fsys durable.FS, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := fsys.MkdirAll(path.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteFile(fsys, name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// office returns the files of a small data directory.
func office() map[string]string {
	files := map[string]string{
		"devices.json": "{}", "version": "1.0", "empty": "",
		"mailbox/office.example/domain.json": `{"aliases":{}}`,
		box + "account.json":                 `{"verifier":"x"}`,
		box + ".deleted/P3_odd\xff name.eml": "odd\r\n",
		"queue/P3_1.env":                     "state",
		"queue/quarantine/x":                 "q",
		"pickup/letter.eml":                  "From: anna@office.example\r\n\r\n",
		"badmail/b.eml":                      "bad\r\n",
		"mailbox/" + strings.Repeat("d", 120) + "/" + strings.Repeat("n", 150): "long",
	}
	for i := range 20 {
		name, text := message(i)
		files[name] = text
	}
	return files
}

func open(t *testing.T, dir string) *durable.Root {
	t.Helper()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func initialised(t *testing.T, fsys durable.FS) *Repo {
	t.Helper()
	r, err := Init(fsys)
	if err != nil {
		t.Fatal(err)
	}
	r.PackSize = 1 << 10
	return r
}

func create(t *testing.T, r *Repo, data durable.FS) Snapshot {
	t.Helper()
	src := Source{Data: data, Config: map[string][]byte{"pillarbox.toml": []byte("data = 1\n")}}
	s, err := r.Create(t.Context(), src, Options{Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// content reads all files of a snapshot.
func content(r *Repo, s *Snapshot) (map[string]string, Report, error) {
	all := map[string]string{}
	report, err := r.Extract(context.Background(), s, Wanted{
		Take: func(*Entry) bool { return true },
		To: func(e *Entry, copy func(io.Writer) error) error {
			var text strings.Builder
			err := copy(&text)
			if err == nil {
				all[e.Path] = text.String()
			}
			return err
		},
	}, nil)
	return all, report, err
}

// inBackup is what a snapshot of files must have.
func inBackup(files map[string]string) map[string]string {
	all := map[string]string{"config/pillarbox.toml": "data = 1\n"}
	for name, text := range files {
		all[DataPart+name] = text
	}
	return all
}

func expect(t *testing.T, r *Repo, s *Snapshot, files map[string]string) {
	t.Helper()
	got, report, err := content(r, s)
	if err != nil || report.Damaged > 0 {
		t.Fatalf("reading %s: %v, %v", s.ID, report.Damages, err)
	}
	want := inBackup(files)
	if !maps.Equal(got, want) {
		t.Errorf("snapshot %s has %q, want %q", s.ID, slices.Sorted(maps.Keys(got)),
			slices.Sorted(maps.Keys(want)))
	}
	if s.Files != len(want) {
		t.Errorf("snapshot %s says %d files, want %d", s.ID, s.Files, len(want))
	}
}

func TestSnapshots(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	files := office()
	put(t, data, files)
	put(t, data, map[string]string{ // what is left out
		"log/log0": "x", "incoming/P3_2": "x", "lock": "1", "control.sock": "x", "backup.json": "{}",
		"mailbox/office.example/.domain.json.ABC.tmp": "x",
	})
	first := create(t, r, data)
	expect(t, r, &first, files)
	if first.NewFiles != first.Files || len(first.Packs) < 3 {
		t.Errorf("the first snapshot stored %d of %d files in %d packs",
			first.NewFiles, first.Files, len(first.Packs))
	}

	// The next snapshot stores what is new or changed, and does not read messages again.
	gone, _ := message(3)
	if err := data.Remove(gone); err != nil {
		t.Fatal(err)
	}
	delete(files, gone)
	name, text := message(50)
	changed := map[string]string{name: text, "devices.json": `{"a":1}`}
	put(t, data, changed)
	maps.Copy(files, changed)
	unread, _ := message(4)
	if err := os.WriteFile(filepath.Join(data.Name(), unread), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for name := range files {
		if changed[name] == "" {
			_ = os.Chtimes(filepath.Join(data.Name(), name), old, old)
		}
	}
	create(t, r, data) // now with the old times
	name, text = message(51)
	files[name] = text
	put(t, data, map[string]string{name: text})
	third := create(t, r, data)
	expect(t, r, &third, files)
	// The message, and the files that changed a moment before the last snapshot.
	if third.NewFiles > 5 {
		t.Errorf("the third snapshot stored %d files", third.NewFiles)
	}
	expect(t, r, &first, office())

	// A prune leaves the last one whole.
	removed, err := r.Prune(Keep{Daily: 1}, time.UTC, false)
	if err != nil || len(removed) != 2 {
		t.Errorf("prune removed %v: %v", removed, err)
	}
	expect(t, r, &third, files)
	packs, _ := r.FS.ReadNames(packsDir)
	if len(packs) != len(third.Packs) {
		t.Errorf("after the prune there are %d packs, want %d", len(packs), len(third.Packs))
	}
}

// TestHardLinks checks that the content of a message to several mailboxes is stored once.
func TestHardLinks(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	name, text := message(6)
	files := map[string]string{name: text, "mailbox/office.example/P3_ben.mbx/account.json": "{}"}
	put(t, data, files)
	second := "mailbox/office.example/P3_ben.mbx/" + path.Base(name)
	if err := data.Link(name, second); err != nil {
		t.Fatal(err)
	}
	files[second] = text
	s := create(t, r, data)
	expect(t, r, &s, files)
	if s.NewFiles != 3 {
		t.Errorf("stored %d files, want 3", s.NewFiles)
	}
}

// TestEmptyPacks checks that what is left in a pack that is mostly unused is stored again.
func TestEmptyPacks(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	r.PackSize = 1 << 20
	files := map[string]string{}
	for i := range 200 {
		name, text := message(i)
		files[name] = text
	}
	put(t, data, files)
	create(t, r, data)
	for i := range 190 {
		name, _ := message(i)
		if err := data.Remove(name); err != nil {
			t.Fatal(err)
		}
		delete(files, name)
	}
	create(t, r, data) // learns that the pack is almost empty
	last := create(t, r, data)
	expect(t, r, &last, files)
	if _, err := r.Prune(Keep{Daily: 1}, time.UTC, false); err != nil {
		t.Fatal(err)
	}
	expect(t, r, &last, files)
	var size int64
	for _, p := range last.Packs {
		size += p.Size
	}
	if size > 50_000 {
		t.Errorf("the packs of 10 messages have %d octets", size)
	}
}

// mover renames a mailbox when the walk has passed its new name.
type mover struct {
	durable.FS
	do func()
}

func (m *mover) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	if m.do != nil && strings.Contains(name, "P3_m.mbx") {
		m.do()
		m.do = nil
	}
	return m.FS.OpenFile(name, flag, perm)
}

// TestRenamedMeanwhile checks that a mailbox whose name changes during the walk is in the snapshot.
func TestRenamedMeanwhile(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	const from, to = "mailbox/o.example/P3_z.mbx", "mailbox/o.example/P3_a.mbx"
	const other = "mailbox/o.example/P3_m.mbx/y.eml"
	put(t, data, map[string]string{from + "/x.eml": "z\r\n", other: "m\r\n"})
	s := create(t, r, &mover{data, func() {
		if err := data.Rename(from, to); err != nil {
			t.Error(err)
		}
	}})
	expect(t, r, &s, map[string]string{to + "/x.eml": "z\r\n", other: "m\r\n"})
	if names, _ := r.FS.ReadNames(manifestsDir); len(names) != 1 {
		t.Errorf("manifests: %v", names)
	}
}

// TestUnreadable checks that a file that cannot be read is a problem, and does not stop a backup.
func TestUnreadable(t *testing.T) {
	data, r := mailtest.NewPowerFS(), initialised(t, open(t, t.TempDir()))
	files := office()
	put(t, data, files)
	fail := func(_ int, op mailtest.Op) error {
		if op.Name == "devices.json" && op.Kind == "read" {
			return errors.New("input/output error")
		}
		return nil
	}
	data.Start(fail)
	s := create(t, r, data)
	if len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "devices.json") {
		t.Fatalf("problems: %q", s.Problems)
	}
	delete(files, "devices.json")
	expect(t, r, &s, files)
	// With the file in the snapshot before, that one is kept.
	data.Start(nil)
	files["devices.json"] = "{}"
	s = create(t, r, data)
	expect(t, r, &s, files)
	data.Start(fail)
	put(t, data, map[string]string{"devices.json": "{ }"})
	s = create(t, r, data)
	expect(t, r, &s, files)
}

// TestKilled cuts the power at every operation of a backup. Afterwards every snapshot that is listed
// is whole, and the next backup works and leaves no file that it does not name.
func TestKilled(t *testing.T) {
	data := open(t, t.TempDir())
	files := office()
	put(t, data, files)
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; ; n++ {
		disk := mailtest.NewPowerFS()
		r := initialised(t, disk)
		r.PackSize = 8 << 10
		first := create(t, r, data)
		name, text := message(50)
		put(t, data, map[string]string{name: text})
		disk.Start(func(i int, op mailtest.Op) error {
			if i == n {
				return mailtest.ErrPowerCut
			}
			return nil
		})
		_, err := r.Create(t.Context(), Source{Data: data}, Options{})
		if !disk.Off() {
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d operations", n-1)
			return
		}
		mode := mailtest.PowerMode(n % 3)
		disk = disk.Restart(mode, rng)
		if r, err = Open(disk); err != nil {
			t.Fatal(err)
		}
		r.PackSize = 8 << 10
		all, damaged, err := r.List()
		if err != nil || len(damaged) > 0 || len(all) == 0 || all[0].ID != first.ID {
			t.Fatalf("cut at %d: %d snapshots, %v, %v", n, len(all), damaged, err)
		}
		for _, s := range all {
			if report, err := r.Verify(t.Context(), &s, nil); err != nil || report.Damaged > 0 {
				t.Fatalf("cut at %d: %s: %v, %v", n, s.ID, report.Damages, err)
			}
		}
		s := create(t, r, data)
		files := maps.Clone(files)
		files[name] = text
		expect(t, r, &s, files)
		named := map[string]bool{}
		all, _, _ = r.List()
		for _, s := range all {
			for _, p := range s.Packs {
				named[p.Name] = true
			}
		}
		packs, _ := disk.ReadNames(packsDir)
		for _, p := range packs {
			if !named[p] {
				t.Fatalf("cut at %d: the pack %s is left", n, p)
			}
		}
		if err := data.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamage checks that verify finds damage of each kind of file.
func TestDamage(t *testing.T) {
	data, r := open(t, t.TempDir()), initialised(t, open(t, t.TempDir()))
	files := office()
	put(t, data, files)
	s := create(t, r, data)
	dir := r.FS.(*durable.Root).Name()
	pack := filepath.Join(dir, packsDir, s.Packs[0].Name)
	list := filepath.Join(dir, manifestsDir, s.Manifest.Name)
	header := filepath.Join(dir, snapshotsDir, s.ID+".json")
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at%len(b)] ^= 0x40; return b }
	}
	for _, c := range []struct {
		name, file string
		edit       func([]byte) []byte // nil: remove it
	}{
		{"content", pack, flip(520)},
		{"pack cut short", pack, func(b []byte) []byte { return b[:600] }},
		{"pack missing", pack, nil},
		{"manifest", list, flip(200)},
		{"manifest cut short", list, func(b []byte) []byte { return b[:len(b)/2] }},
		{"manifest missing", list, nil},
		{"description", header, flip(10)},
		{"description empty", header, func([]byte) []byte { return nil }},
	} {
		whole, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		if c.edit == nil {
			err = os.Remove(c.file)
		} else {
			err = os.WriteFile(c.file, c.edit(slices.Clone(whole)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, damaged, _ := r.List()
		report, err := r.Verify(t.Context(), &s, nil)
		if len(damaged) == 0 && err == nil && report.Damaged == 0 {
			t.Errorf("%s: verify found no damage", c.name)
		}
		// What is whole can still be read.
		if strings.HasPrefix(c.name, "content") && (report.Files != s.Files-1 || report.Damaged != 1) {
			t.Errorf("%s: %d files are whole, %d damaged", c.name, report.Files, report.Damaged)
		}
		if err := os.WriteFile(c.file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A damaged pack is not built upon, if its size tells.
	if err := os.Truncate(pack, 100); err != nil {
		t.Fatal(err)
	}
	next := create(t, r, data)
	expect(t, r, &next, files)
}

func TestInit(t *testing.T) {
	dir := open(t, t.TempDir())
	if _, err := Open(dir); !errors.Is(err, ErrNoBackups) {
		t.Errorf("Open of an empty directory: %v", err)
	}
	put(t, dir, map[string]string{"letter.odt": "x"})
	if _, err := Init(dir); err == nil {
		t.Error("Init took a directory with other files")
	}
}
