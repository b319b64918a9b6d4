package mailtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// twin does the same operations on a real directory and on a PowerFS.
type twin struct {
	t     *testing.T
	rng   *rand.Rand
	real  durable.FS
	power *mailtest.PowerFS
	files [][2]durable.File
}

// TestPowerFSIsLikeRoot checks that random operations, including impossible ones, have the same
// results on a PowerFS and a directory.
func TestPowerFSIsLikeRoot(t *testing.T) {
	for seed := range uint64(8) {
		root, err := durable.Open(t.TempDir())
		must(t, err)
		tw := twin{t: t, rng: rand.New(rand.NewPCG(seed, 0)), real: root, power: mailtest.NewPowerFS()}
		for range 400 {
			what := tw.operate()
			if a, b := tree(t, tw.real, "."), tree(t, tw.power, "."); a != b {
				t.Fatalf("seed %d: after %s, the directory holds\n%s, PowerFS\n%s", seed, what, a, b)
			}
		}
		for _, f := range tw.files {
			must(t, f[0].Close())
			must(t, f[1].Close())
		}
		must(t, root.Close())
	}
}

// name returns a short random path. Most exist, conflict with another, or are below a file.
func (tw *twin) name() string {
	odd := []string{".", "..", "", "a/../b", "/a", "a/", "a\x00", "a//b", "\xff"}
	if tw.rng.IntN(30) == 0 {
		return odd[tw.rng.IntN(len(odd))]
	}
	parts := make([]string, 1+tw.rng.IntN(3))
	for i := range parts {
		parts[i] = string(rune('a' + tw.rng.IntN(3)))
	}
	return strings.Join(parts, "/")
}

// operate does one operation on both, compares the results and describes the operation.
func (tw *twin) operate() string {
	a, b := tw.name(), tw.name()
	simple := map[string]func(durable.FS) (string, error){
		"mkdir":     func(f durable.FS) (string, error) { return "", f.Mkdir(a, 0o700) },
		"mkdirall":  func(f durable.FS) (string, error) { return "", f.MkdirAll(a, 0o700) },
		"link":      func(f durable.FS) (string, error) { return "", f.Link(a, b) },
		"rename":    func(f durable.FS) (string, error) { return "", f.Rename(a, b) },
		"remove":    func(f durable.FS) (string, error) { return "", f.Remove(a) },
		"removeall": func(f durable.FS) (string, error) { return "", f.RemoveAll(a) },
		"syncdir":   func(f durable.FS) (string, error) { return "", f.SyncDir(a) },
		"syncall":   func(f durable.FS) (string, error) { return "", f.SyncAll() },
		"readfile":  func(f durable.FS) (string, error) { b, err := durable.ReadFile(f, a); return string(b), err },
		"writefile": func(f durable.FS) (string, error) { return "", durable.WriteFile(f, a, []byte(b), 0o600) },
		"readnames": func(f durable.FS) (string, error) {
			names, err := f.ReadNames(a)
			slices.Sort(names)
			return strings.Join(names, " "), err
		},
		"lstat": func(f durable.FS) (string, error) {
			fi, err := f.Lstat(a)
			if err != nil {
				return "", err
			}
			return fmt.Sprint(fi.Name(), fi.IsDir(), fi.Mode().IsRegular(), links(fi)), nil
		},
	}
	kinds := []string{"open", "open", "unnamed", "linkfile", "file", "file", "file", "file", "close"}
	for kind := range simple {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds) // map order is random; a seed must repeat
	kind := kinds[tw.rng.IntN(len(kinds))]
	what := fmt.Sprintf("%s %q %q", kind, a, b)
	switch {
	case simple[kind] != nil:
		tw.same(what, simple[kind])
	case kind == "open":
		flags := []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR}
		flag := flags[tw.rng.IntN(3)]
		for _, more := range []int{os.O_CREATE, os.O_CREATE, os.O_EXCL, os.O_TRUNC, os.O_APPEND, syscall.O_DSYNC} {
			if tw.rng.IntN(3) == 0 {
				flag |= more
			}
		}
		if flag&os.O_CREATE == 0 {
			flag &^= os.O_EXCL // has no meaning alone
		}
		what += fmt.Sprintf(" %#x", flag)
		tw.opened(what, func(f durable.FS) (durable.File, error) { return f.OpenFile(a, flag, 0o600) })
	case kind == "unnamed":
		tw.opened(what, func(f durable.FS) (durable.File, error) { return f.Unnamed(a, 0o600) })
	case len(tw.files) > 0:
		tw.onFile(kind, what, b)
	}
	return what
}

func (tw *twin) opened(what string, open func(durable.FS) (durable.File, error)) {
	tw.t.Helper()
	real, err := open(tw.real)
	power, powerErr := open(tw.power)
	tw.compare(what, "", err, "", powerErr)
	if err == nil && powerErr == nil {
		tw.files = append(tw.files, [2]durable.File{real, power})
	}
}

func (tw *twin) onFile(kind, what, newname string) {
	i := tw.rng.IntN(len(tw.files))
	f := tw.files[i]
	switch kind {
	case "close":
		must(tw.t, f[0].Close())
		must(tw.t, f[1].Close())
		tw.files = slices.Delete(tw.files, i, i+1)
	case "linkfile":
		_, dirErr := f[0].Seek(0, io.SeekCurrent)
		fi, err := f[0].Stat()
		must(tw.t, errors.Join(dirErr, err))
		if !fi.IsDir() {
			tw.compare(what, "", tw.real.LinkFile(f[0], newname), "", tw.power.LinkFile(f[1], newname))
		}
	case "file":
		tw.readOrWrite(what, f)
	}
}

func (tw *twin) readOrWrite(what string, f [2]durable.File) {
	off, size := int64(tw.rng.IntN(3000)), tw.rng.IntN(2000)
	data := bytes.Repeat([]byte{byte(tw.rng.Uint32())}, size)
	do := []func(durable.File) (int, error){
		func(f durable.File) (int, error) { return f.Write(data) },
		func(f durable.File) (int, error) { return f.WriteAt(data, off) },
		func(f durable.File) (int, error) { n, err := f.Seek(off, io.SeekStart); return int(n), err },
		func(f durable.File) (int, error) { n, err := f.Seek(-1, io.SeekCurrent); return int(n), err },
		func(f durable.File) (int, error) { return 0, f.Sync() },
	}
	switch i := tw.rng.IntN(len(do) + 2); {
	case i < len(do):
		fi, err := f[0].Stat()
		must(tw.t, err)
		if fi.IsDir() {
			return
		}
		a, err := do[i](f[0])
		b, powerErr := do[i](f[1])
		tw.compare(fmt.Sprint(what, " ", i, " ", off, " ", size), fmt.Sprint(a), err, fmt.Sprint(b), powerErr)
	case i == len(do):
		a, b := make([]byte, size), make([]byte, size)
		n, err := f[0].Read(a)
		m, powerErr := f[1].Read(b)
		tw.compare(what, string(a[:max(n, 0)]), err, string(b[:max(m, 0)]), powerErr)
	default:
		a, err := f[0].Stat()
		b, powerErr := f[1].Stat()
		must(tw.t, errors.Join(err, powerErr))
		if !a.IsDir() {
			tw.compare(what, fmt.Sprint(a.Size(), links(a)), nil, fmt.Sprint(b.Size(), links(b)), nil)
		}
	}
}

// links skips directories: their link counts differ between file systems.
func links(fi fs.FileInfo) uint64 {
	if fi.IsDir() {
		return 0
	}
	return uint64(fi.Sys().(*syscall.Stat_t).Nlink)
}

func (tw *twin) same(what string, do func(durable.FS) (string, error)) {
	tw.t.Helper()
	a, err := do(tw.real)
	b, powerErr := do(tw.power)
	tw.compare(what, a, err, b, powerErr)
}

func (tw *twin) compare(what, a string, err error, b string, powerErr error) {
	tw.t.Helper()
	if a != b || class(err) != class(powerErr) {
		tw.t.Fatalf("%s: the directory gives %q, %v; PowerFS %q, %v", what, a, err, b, powerErr)
	}
}

// class is the errors.Is class of an error.
func class(err error) string {
	if err == nil || err == io.EOF {
		return fmt.Sprint(err)
	}
	if errors.Is(err, syscall.ENOTEMPTY) {
		err = syscall.EEXIST // POSIX permits either
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	for _, known := range []error{fs.ErrInvalid, fs.ErrClosed, fs.ErrExist, fs.ErrNotExist} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "some error"
}

// tree lists everything below a directory.
func tree(t *testing.T, fsys durable.FS, dir string) string {
	t.Helper()
	names, err := fsys.ReadNames(dir)
	must(t, err)
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		name = path.Join(dir, name)
		fi, err := fsys.Lstat(name)
		must(t, err)
		if fi.IsDir() {
			fmt.Fprintf(&b, "%q/\n%s", name, tree(t, fsys, name))
			continue
		}
		content, err := durable.ReadFile(fsys, name)
		must(t, err)
		base := path.Base(name)
		if strings.HasPrefix(base, ".") {
			base = "temp"
		}
		fmt.Fprintf(&b, "%q %d %x\n", base, fi.Size(), content)
	}
	return b.String()
}

// TestCutDuringWriteFile checks that a file is old or new, and new after WriteFile has returned
// nil.
func TestCutDuringWriteFile(t *testing.T) {
	old, new := strings.Repeat("old", 700), strings.Repeat("newer", 900)
	for _, before := range []string{"", old} {
		disk := mailtest.NewPowerFS()
		must(t, disk.MkdirAll("d", 0o700))
		if before != "" {
			must(t, durable.WriteFile(disk, "d/f", []byte(before), 0o600))
		}
		mailtest.CutEverywhere(t, disk, 200, func(fsys *mailtest.PowerFS) func(*mailtest.PowerFS) error {
			done := durable.WriteFile(fsys, "d/f", []byte(new), 0o600) == nil
			return func(found *mailtest.PowerFS) error {
				content, err := durable.ReadFile(found, "d/f")
				if before == "" && !done && errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				if got := string(content); err != nil || got != new && (done || before == "" || got != before) {
					return fmt.Errorf("done: %v; %v, %.40q", done, err, content)
				}
				return nil
			}
		})
	}
}

// careful does everything right.
func careful(fsys durable.FS, flag int, sync, syncDir bool) error {
	f, err := fsys.OpenFile("temp/m", os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(message)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename("temp/m", "box/m"); err != nil || !syncDir {
		return err
	}
	return fsys.SyncDir("box")
}

var message = bytes.Repeat([]byte("a line\r\n"), 300)

// TestPowerFSBites checks that each careless way is caught in the modes that should catch it, and
// that the careful way is not.
func TestPowerFSBites(t *testing.T) {
	inPlace := func(flag int) func(durable.FS) error {
		return func(fsys durable.FS) error {
			f, err := fsys.OpenFile("box/m", flag, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(message)
			return errors.Join(err, f.Sync(), f.Close())
		}
	}
	for _, c := range []struct {
		name string
		put  func(durable.FS) error
		want string
	}{
		{"careful", func(f durable.FS) error { return careful(f, os.O_EXCL, true, true) }, ""},
		{"each write synced", func(f durable.FS) error { return careful(f, syscall.O_DSYNC, false, true) }, ""},
		{"all synced after the name is there", func(f durable.FS) error { return errors.Join(careful(f, 0, false, false), f.SyncAll()) },
			"ordered chaos"},
		{"no sync", func(f durable.FS) error { return careful(f, os.O_EXCL, false, true) }, "nothing ordered chaos"},
		{"no sync of the directory", func(f durable.FS) error { return careful(f, os.O_EXCL, true, false) },
			"nothing ordered chaos"},
		{"in place", inPlace(os.O_WRONLY), "ordered chaos"},
		{"in place, emptied", inPlace(os.O_WRONLY | os.O_TRUNC), "everything ordered chaos"},
		{"removed before named", removeFirst, "nothing everything ordered chaos"},
	} {
		caught := caughtIn(t, c.put)
		for _, mode := range []mailtest.PowerMode{mailtest.Nothing, mailtest.Everything, mailtest.Ordered, mailtest.Chaos} {
			if want := strings.Contains(c.want, mode.String()); caught[mode] != want {
				t.Errorf("%s, mode %v: caught: %v", c.name, mode, caught[mode])
			}
		}
	}
}

// removeFirst leaves a moment without any message.
func removeFirst(fsys durable.FS) error {
	return errors.Join(fsys.Remove("box/m"), fsys.SyncDir("box"), careful(fsys, os.O_EXCL, true, true))
}

// caughtIn returns the modes in which the message, old or new, is damaged after some cut.
func caughtIn(t *testing.T, put func(durable.FS) error) map[mailtest.PowerMode]bool {
	t.Helper()
	caught := make(map[mailtest.PowerMode]bool)
	old := bytes.Repeat([]byte("x"), 1000)
	for n := 1; ; n++ {
		fsys := mailtest.NewPowerFS()
		must(t, fsys.MkdirAll("box", 0o700))
		must(t, fsys.MkdirAll("temp", 0o700))
		must(t, durable.WriteFile(fsys, "box/m", old, 0o600))
		fsys.Start(mailtest.Nth(n, mailtest.ErrPowerCut))
		promised := put(fsys) == nil
		for mode := mailtest.Nothing; mode <= mailtest.Chaos; mode++ {
			for seed := range uint64(100) {
				found := fsys.Restart(mode, rand.New(rand.NewPCG(seed, 1)))
				got, _ := durable.ReadFile(found, "box/m")
				if !bytes.Equal(got, message) && (promised || !bytes.Equal(got, old)) {
					caught[mode] = true
				}
			}
		}
		if !fsys.Off() {
			return caught
		}
	}
}

func TestSyncOfUnnamedFile(t *testing.T) {
	for _, names := range []bool{false, true} {
		disk := mailtest.NewPowerFS()
		disk.SyncNames = names
		f, err := disk.Unnamed(".", 0o600)
		must(t, err)
		_, err = f.Write(message)
		must(t, err)
		must(t, f.Sync())
		must(t, disk.LinkFile(f, "m"))
		must(t, disk.LinkFile(f, "n"))
		must(t, f.Sync())
		found := disk.Restart(mailtest.Nothing, nil)
		for _, name := range []string{"m", "n"} {
			if got, err := durable.ReadFile(found, name); (err == nil) != names || names && !bytes.Equal(got, message) {
				t.Errorf("Sync covers names: %v; found %q, %v", names, got, err)
			}
		}
	}
}

func TestFailedSyncLosesContent(t *testing.T) {
	fsys := mailtest.NewPowerFS()
	f, err := fsys.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	must(t, fsys.SyncDir("."))
	_, err = f.Write(message)
	must(t, err)
	fsys.Start(mailtest.Nth(1, syscall.EIO))
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	must(t, f.Sync())
	got, err := durable.ReadFile(fsys, "f")
	if err != nil || !bytes.Equal(got, message) {
		t.Errorf("after a failed sync the file reads %.20q, %v", got, err)
	}
	got, err = durable.ReadFile(fsys.Restart(mailtest.Nothing, nil), "f")
	if err != nil || bytes.Contains(got, []byte("a line")) {
		t.Errorf("after a failed sync the disk has %.20q, %v", got, err)
	}
	_, err = f.WriteAt(message, 0)
	must(t, err)
	must(t, f.Sync())
	if got, err = durable.ReadFile(fsys.Restart(mailtest.Nothing, nil), "f"); err != nil || !bytes.Equal(got, message) {
		t.Errorf("written again, the disk has %.20q, %v", got, err)
	}
}

// TestTornWrite checks that an interrupted synced write into a preallocated file leaves whole
// sectors, old or new, and changes no octet outside its range.
func TestTornWrite(t *testing.T) {
	disk := mailtest.NewPowerFS()
	must(t, durable.WriteFile(disk, "log", bytes.Repeat([]byte("-"), 10_000), 0o600))
	fsys := disk.Restart(mailtest.Everything, nil)
	f, err := fsys.OpenFile("log", os.O_WRONLY|syscall.O_DSYNC, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("kept"), 0)
	must(t, err)
	fsys.Start(mailtest.Nth(1, mailtest.ErrPowerCut))
	if _, err := f.WriteAt(bytes.Repeat([]byte("+"), 3000), 1000); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	torn := 0
	for seed := range uint64(100) {
		found := fsys.Restart(mailtest.Chaos, rand.New(rand.NewPCG(seed, 0)))
		got, err := durable.ReadFile(found, "log")
		must(t, err)
		if len(got) != 10_000 || !bytes.HasPrefix(got, []byte("kept-")) {
			t.Fatalf("choice %d: %d bytes, %.10q", seed, len(got), got)
		}
		written := 0
		for i, b := range got[4:] {
			i += 4
			if b == '+' {
				written++
			}
			if b == '+' && (i < 1000 || i >= 4000) || i%512 != 0 && i != 1000 && i != 4000 && b != got[i-1] && i != 4 {
				t.Fatalf("choice %d: byte %d is %q", seed, i, b)
			}
		}
		if written > 0 && written < 3000 {
			torn++
		}
	}
	if torn < 10 {
		t.Errorf("only %d of 100 choices are torn", torn)
	}
}

// TestRenameKeepsAName checks that a file moved between directories survives somewhere, whole.
func TestRenameKeepsAName(t *testing.T) {
	disk := mailtest.NewPowerFS()
	for _, dir := range []string{"a", "b", "c"} {
		must(t, disk.MkdirAll(dir, 0o700))
	}
	must(t, durable.WriteFile(disk, "a/m", message, 0o600))
	mailtest.CutEverywhere(t, disk, 100, func(fsys *mailtest.PowerFS) func(*mailtest.PowerFS) error {
		_ = errors.Join(fsys.Rename("a/m", "b/m"), fsys.SyncDir("a"), fsys.Rename("b/m", "c/n"), fsys.Rename("c/n", "c/o"),
			fsys.SyncDir("b"), fsys.Rename("c/o", "a/m"))
		return func(found *mailtest.PowerFS) error {
			for _, name := range []string{"a/m", "b/m", "c/n", "c/o"} {
				if got, err := durable.ReadFile(found, name); err == nil && bytes.Equal(got, message) {
					return nil
				}
			}
			return errors.New("the file is gone")
		}
	})
}

// TestPowerFSManyAtOnce checks that everything acknowledged before the cut is there.
func TestPowerFSManyAtOnce(t *testing.T) {
	for seed := range uint64(30) {
		fsys := mailtest.NewPowerFS()
		must(t, fsys.MkdirAll("d", 0o700))
		fsys.Start(mailtest.Nth(100+int(seed)*7, mailtest.ErrPowerCut))
		var mu sync.Mutex
		var done []string
		var group sync.WaitGroup
		for w := range 8 {
			group.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("d/%d-%d", w, i)
					if durable.WriteFile(fsys, name, message, 0o600) != nil {
						return
					}
					mu.Lock()
					done = append(done, name)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		found := fsys.Restart(mailtest.Chaos, rand.New(rand.NewPCG(seed, 0)))
		for _, name := range done {
			if got, err := durable.ReadFile(found, name); err != nil || !bytes.Equal(got, message) {
				t.Errorf("%s: %v, %.20q", name, err, got)
			}
		}
	}
}

func TestDirectoryTimeChanges(t *testing.T) {
	fsys := mailtest.NewPowerFS()
	must(t, fsys.Mkdir("d", 0o700))
	f, err := fsys.OpenFile("d/f", os.O_WRONLY|os.O_CREATE, 0o600)
	must(t, err)
	stamp := func() int64 {
		fi, err := fsys.Lstat("d")
		must(t, err)
		return fi.ModTime().UnixNano()
	}
	last := stamp()
	for name, do := range map[string]func() error{
		"write":  func() error { _, err := f.Write(message); return err },
		"sync":   func() error { return errors.Join(f.Sync(), fsys.SyncDir("d")) },
		"create": func() error { return durable.WriteFile(fsys, "d/g", nil, 0o600) },
		"remove": func() error { return fsys.Remove("d/g") },
	} {
		if name == "remove" {
			must(t, durable.WriteFile(fsys, "d/g", nil, 0o600))
			last = stamp()
		}
		must(t, do())
		now := stamp()
		if changed := name == "create" || name == "remove"; (now != last) != changed {
			t.Errorf("%s: the directory's time changed: %v", name, now != last)
		}
		last = now
	}
}

func BenchmarkCutAndRestart(b *testing.B) {
	disk := mailtest.NewPowerFS()
	must(b, disk.MkdirAll("d", 0o700))
	rng := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		fsys := disk.Restart(mailtest.Everything, nil)
		fsys.Start(mailtest.Nth(1+rng.IntN(7), mailtest.ErrPowerCut))
		_ = durable.WriteFile(fsys, "d/f", message, 0o600)
		_, _ = durable.ReadFile(fsys.Restart(mailtest.Chaos, rng), "d/f")
	}
}

func newRand(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 0)) }
