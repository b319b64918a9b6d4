package admin

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pillarbox/mailstore/durable"
)

const spooledText = "Subject: x\r\n\r\nHello\r\n"

// spool writes a message with its state, damaged if requested.
func spool(t *testing.T, o *Service, dir, id string, damage ...string) {
	t.Helper()
	message, state := []byte(spooledText), []byte(fmt.Sprintf(
		`{"version":1,"arrived":"2026-01-01T00:00:00Z","size":%d,"source":{},"from":"anna@office.example","to":[{"address":"x@far.example"}]}`, len(spooledText)))
	files := map[string]string{id + ".eml": string(message), id + ".env": string(state)}
	for _, what := range damage {
		switch file, how, _ := strings.Cut(what, " "); how {
		case "zeros":
			files[id+file] = strings.Repeat("\x00", len(files[id+file]))
		case "cut":
			files[id+file] = files[id+file][:10]
		case "empty":
			files[id+file] = ""
		case "gone":
			delete(files, id+file)
		case "later version":
			files[id+file] = strings.Replace(files[id+file], `"version":1`, `"version":99`, 1)
		}
	}
	put(t, filepath.Join(o.Root.Name(), dir), files)
	for name := range files {
		aged(t, filepath.Join(o.Root.Name(), dir, name), 2*time.Hour)
	}
}

// TestCheckQueue checks that every kind of damage in the queue and in quarantine is reported.
func TestCheckQueue(t *testing.T) {
	tests := []struct{ damage, want string }{
		{"", ""},
		{".eml zeros", "are zeros"},
		{".eml cut", "has 10 bytes, its state says 21"},
		{".eml empty", "has 0 bytes"},
		{".eml gone", "its message is missing"},
		{".env zeros", "its state cannot be parsed"},
		{".env cut", "its state cannot be parsed"},
		{".env empty", "its state cannot be parsed"},
		{".env gone", "its state is missing"},
		{".env later version", "a newer release wrote its state, in version 99"},
	}
	o := mailOffice(t)
	for i, test := range tests {
		id := fmt.Sprintf("P3_2026010100000000000000000%d", i)
		spool(t, o, queueDir, id, test.damage)
		r, err := o.CheckMail(t.Context(), "", CheckOptions{})
		if err != nil || r.Queued != 1 {
			t.Errorf("%s: %d in the queue, %v", test.damage, r.Queued, err)
		}
		wantFinding(t, r, ProblemQueue, test.damage, test.want)
		for _, ending := range []string{".eml", ".env"} {
			os.Remove(filepath.Join(o.Root.Name(), queueDir, id+ending))
		}
		spool(t, o, quarantineDir, id, test.damage)
		r, err = o.CheckMail(t.Context(), "", CheckOptions{})
		if err != nil || len(r.Findings) != 1 {
			t.Errorf("%s: %+v, %v", test.damage, r.Findings, err)
		}
		wantFinding(t, r, ProblemQuarantine, test.damage+" in quarantine", "was moved out of the queue")
		wantFinding(t, r, ProblemQuarantine, test.damage+" in quarantine", test.want)
		if err := o.RemoveQuarantined([]string{id}); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFinding(t *testing.T, r CheckReport, problem Problem, name, text string) {
	t.Helper()
	if text == "" && problem == ProblemQueue {
		if len(r.Findings) > 0 {
			t.Errorf("%s: %+v", name, r.Findings)
		}
		return
	}
	at := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Problem == problem && strings.Contains(f.Text, text) })
	if at < 0 || !strings.Contains(r.Findings[at].Hint, "pillarbox admin queue") && !strings.Contains(r.Findings[at].Hint, "start the newer release") {
		t.Errorf("%s: %+v", name, r.Findings)
	}
}

// TestCheckZeros checks messages that have the right size but whose content never reached the disk.
func TestCheckZeros(t *testing.T) {
	o := mailOffice(t)
	body := strings.Repeat("x", 4094) + "\r\n"
	for i, content := range []string{body + body, strings.Repeat("\x00", 8192), body + strings.Repeat("\x00", 4096), "\x00 is no sector\r\n"} {
		put(t, boxDir(o, "anna"), map[string]string{fmt.Sprintf("P3_2024010110000000000000000%d_%d.eml", i, len(content)): content})
	}
	r, err := o.CheckMail(t.Context(), "anna", CheckOptions{})
	wantProblems(t, r, err, "!zeros P3_20240101100000000000000001_8192.eml", "!zeros P3_20240101100000000000000002_8192.eml")
}

// opens is a file system that counts how often messages are opened.
type opens struct {
	Files
	messages atomic.Int64
}

func (o *opens) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if strings.HasSuffix(name, ".eml") {
		o.messages.Add(1)
	}
	return o.Files.OpenFile(name, flag, perm)
}

// TestCheckReadsOnce checks that each message is read only once.
func TestCheckReadsOnce(t *testing.T) {
	first := mailOffice(t)
	root, err := durable.Open(first.Root.Name())
	if err != nil {
		t.Fatal(err)
	}
	count := &opens{Files: root}
	o, err := OpenOn(count, first.Config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	put(t, boxDir(o, "anna"), map[string]string{"P3_20240101100000000000000001_3.eml": "a\r\n", "P3_20240101100000000000000002_4.eml": "\x00\x00\x00\x00"})
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err, "!zeros P3_20240101100000000000000002_4.eml")
	if n := count.messages.Load(); n != 2 {
		t.Errorf("2 messages were opened %d times", n)
	}
}

// TestCheckFolders checks the findings in the other folders.
func TestCheckFolders(t *testing.T) {
	o := mailOffice(t)
	root := o.Root.Name()
	put(t, filepath.Join(root, "badmail"), map[string]string{
		"a.eml": "x\r\n", "a.env": "{}", "a.txt": "x", "b.eml": strings.Repeat("\x00", 100), "c.env": "{}", "d.eml": "x\r\n", "d.txt": "x",
	})
	cfg := *o.Config()
	cfg.Pickup.Enabled, cfg.Pickup.Dir = true, filepath.Join(root, "pickup")
	if err := o.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	put(t, cfg.Pickup.Dir, map[string]string{"old.eml": "x", "new.eml": "x", ".hidden": "x", "bad/x.eml": "x", "bad/x.eml.reason.txt": "x", ".taking/t.eml": "x"})
	for _, name := range []string{"old.eml", ".taking/t.eml", ".hidden"} {
		aged(t, filepath.Join(cfg.Pickup.Dir, name), 2*time.Hour)
	}
	put(t, filepath.Join(root, "fetch"), map[string]string{"isp.json": `{"account":"a@b","seen":{"1":{"size":1}}}`, "other.json": "\x00\x00", "x.recent.json": `{"account`})
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err,
		"!badmail a.eml", "!badmail b.eml", "!badmail c.eml", "!fetch other.json", "!fetch x.recent.json", "!pickup old.eml", "!pickup t.eml",
		"?badmail badmail", "?pickup x.eml")
}

// TestMay compares may with the kernel's rule for a mode.
func TestMay(t *testing.T) {
	server := account{1000, 100}
	for _, test := range []struct {
		uid, gid, mode uint32
		read, use      bool
	}{
		{1000, 100, 0o600, true, false}, {1000, 100, 0o700, true, true}, {1000, 100, 0o077, false, false},
		{0, 100, 0o640, true, false}, {0, 100, 0o770, true, true}, {0, 100, 0o707, false, false},
		{0, 0, 0o644, true, false}, {0, 0, 0o600, false, false}, {0, 0, 0o777, true, true},
	} {
		st := syscall.Stat_t{Uid: test.uid, Gid: test.gid, Mode: test.mode}
		if read, use := server.may(&st, mayRead), server.may(&st, mayRead|mayWrite|mayEnter); read != test.read || use != test.use {
			t.Errorf("%+v: read %v, use %v", test, read, use)
		}
	}
	if !(account{}).may(&syscall.Stat_t{Uid: 5}, mayRead|mayWrite) {
		t.Error("root may not")
	}
}

// TestCheckOwners checks that files which root has copied back are reported by their whole path,
// with the command that repairs them.
func TestCheckOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to others")
	}
	const uid, gid = 65534, 65533 // a group without a name
	o := mailOffice(t)
	root := o.Root.Name()
	spool(t, o, queueDir, "P3_20260101000000000000000001")
	chown(t, root, uid, gid)
	open(t, root)
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err)

	put(t, boxDir(o, "anna"), map[string]string{"restored.eml": "x\r\n", "another.eml": "x\r\n"}) // by root, mode 600
	put(t, boxDir(o, "boss"), map[string]string{"mine.eml": "x\r\n"})
	if err := os.Chmod(filepath.Join(boxDir(o, "boss"), "mine.eml"), 0o644); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(root, "mailbox/office.example/P3_carl.mbx"), map[string]string{"account.json": "{}", "x.eml": "x\r\n"})
	put(t, filepath.Join(root, "log"), map[string]string{"other": "x"})
	if err := os.Chmod(filepath.Join(root, queueDir, "P3_20260101000000000000000001.env"), 0); err != nil {
		t.Fatal(err)
	}
	r, err = o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err, "!mode P3_20260101000000000000000001.env", "!owner P3_carl.mbx", "!owner another.eml", "!owner log", "?owner mine.eml")
	for _, f := range r.Findings {
		dir := filepath.Join(root, f.File)
		if !slices.Contains([]string{"P3_carl.mbx", "log"}, filepath.Base(f.File)) {
			dir = filepath.Dir(dir)
		}
		want := fmt.Sprintf("'chown -R %s:%d %s', as root", userName("65534"), gid, dir)
		if f.Problem == ProblemMode {
			want = "'chmod -R u+rwX " + dir + "'"
		}
		if f.Hint != want {
			t.Errorf("%s: hint %s, want %s", f.File, f.Hint, want)
		}
	}
	if text := r.Findings[0].Text; !strings.Contains(text, "owner root, mode ") {
		t.Errorf("%+v", r.Findings[0])
	}
	r, err = o.CheckMail(t.Context(), "anna", CheckOptions{})
	wantProblems(t, r, err, "!owner another.eml")
}

func chown(t *testing.T, dir string, uid, gid int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, gid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// open makes the directories above a directory of the test accessible to all users.
func open(t *testing.T, dir string) {
	t.Helper()
	for up := filepath.Dir(dir); strings.HasPrefix(up, os.TempDir()+"/"); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
