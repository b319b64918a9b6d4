package system

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// script writes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	// A process that forks now would inherit the open file, and a file that is open for writing
	// cannot be executed (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// unavailable skips the test, or fails it if no test may be skipped.
func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// good is a program that follows the protocol.
const good = `
data=$(tr '\0' '|' <&3)
user=${data%%|*}; rest=${data#*|}; password=${rest%%|*}; rest=${rest#*|}; stamp=${rest%%|*}
case "$stamp" in ''|*[!0-9]*) exit 2;; esac
[ "$rest" = "$stamp|" ] || exit 2
[ "$user" = anna ] && [ "$password" = "s3cret pass" ] || exit 1
exec "$@"
`

func TestCheckpassword(t *testing.T) {
	for _, test := range []struct {
		name, program, user, password string
		want                          error
		says, hides                   string
	}{
		{name: "right", program: good, user: "anna", password: "s3cret pass"},
		{name: "wrong", program: good, user: "anna", password: "secret", want: ErrInvalid},
		{name: "unknown", program: good, user: "bert", password: "s3cret pass", want: ErrInvalid},
		{name: "empty password", program: "exit 0", user: "anna", want: ErrInvalid},
		{name: "empty user", program: "exit 0", password: "x", want: ErrInvalid},
		{name: "root", program: "exit 0", user: "root", password: "x", want: ErrInvalid},
		{name: "NUL in the password", program: "exit 0", user: "anna", password: "a\x00b", want: ErrInvalid},
		{name: "NUL in the user", program: "exit 0", user: "anna\x00s3cret pass", password: "x", want: ErrInvalid},
		{name: "line end in the user", program: "exit 0", user: "anna\nx", password: "x", want: ErrInvalid},
		{name: "longer than the protocol has", program: "exit 0", user: "anna", password: strings.Repeat("x", 500), want: ErrInvalid},
		{name: "reads nothing", program: "exit 0", user: "anna", password: "x"},
		{name: "temporary", program: "echo no database >&2; exit 111", user: "anna", password: "x", want: ErrUnavailable, says: `"no database"`},
		{name: "misused", program: "exit 2", user: "anna", password: "x", want: ErrUnavailable, says: "exit status 2"},
		{name: "crashes", program: "kill -SEGV $$", user: "anna", password: "x", want: ErrUnavailable, says: "segmentation fault"},
		{name: "babbles", program: "while :; do echo blah blah; done", user: "anna", password: "x", want: ErrUnavailable, says: "4096"},
		{name: "babbles and says yes", program: "head -c 9000 /dev/zero; exit 0", user: "anna", password: "x", want: ErrUnavailable},
		{name: "repeats the password", program: "cat <&3; exit 1", user: "anna", password: "hunter2", want: ErrInvalid, hides: "hunter2"},
		{name: "long complaint", program: `head -c 1000 /dev/zero | tr '\0' z; exit 1`, user: "anna", password: "x", want: ErrInvalid, hides: strings.Repeat("z", shown+1)},
		{name: "leaves a child behind", program: "sleep 3 & exit 1", user: "anna", password: "x", want: ErrInvalid},
		{name: "does not run the next program", program: good + "echo; exit 3", user: "anna", password: "s3cret pass"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &Checkpassword{Program: []string{script(t, test.program)}}
			err := c.Check(t.Context(), test.user, test.password)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("Check says %v, not %v", err, test.want)
			}
			if err == nil {
				return
			}
			if text := err.Error(); !strings.Contains(text, test.says) || test.hides != "" && strings.Contains(text, test.hides) {
				t.Errorf("the error is %q: it must say %q and not %q", text, test.says, test.hides)
			}
		})
	}
}

func TestCheckpasswordLeaksNothing(t *testing.T) {
	t.Setenv("PILLARBOX_TEST_SECRET", "of the server")
	seen := filepath.Join(t.TempDir(), "seen")
	program := script(t, `{ env; tr '\0' ' ' </proc/$$/cmdline; ls -l /proc/$$/fd; pwd; } >"$1"; shift; exec "$@"`)
	c := &Checkpassword{Program: []string{program, seen}}
	if err := c.Check(t.Context(), "anna", "hunter2"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "anna", "of the server", "HOME="} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the program sees %q:\n%s", secret, text)
		}
	}
	if !strings.Contains(string(text), seen+" /bin/true") {
		t.Errorf("the arguments are not there:\n%s", text)
	}
}

func TestHangingProgram(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	c := &Checkpassword{Program: []string{script(t, "sleep 600 & echo $! >"+pid+"; wait")}, Timeout: 300 * time.Millisecond}
	began := time.Now()
	if err := c.Check(t.Context(), "anna", "x"); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("Check says %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	child, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // its parent is gone; init must reap it
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("what the program started is still running")
}

func TestFewProgramsAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := script(t, `d="$1"; mkdir "$d/$$"; ls "$d" | wc -l >"$d.$$"; sleep 0.1; rmdir "$d/$$"; exit 0`)
	running := filepath.Join(dir, "running")
	if err := os.Mkdir(running, 0o700); err != nil {
		t.Fatal(err)
	}
	c := &Checkpassword{Program: []string{program, running}}
	c.runner.once.Do(func() { c.runner.slots = make(chan struct{}, 2) })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := c.Check(t.Context(), fmt.Sprint("user", i), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	counts, err := filepath.Glob(running + ".*")
	if err != nil || len(counts) != 8 {
		t.Fatalf("%d of 8 programs ran: %v", len(counts), err)
	}
	for _, name := range counts {
		text, err := os.ReadFile(name)
		if n := strings.TrimSpace(string(text)); err != nil || n != "1" && n != "2" {
			t.Errorf("%s programs ran at once (%v)", n, err)
		}
	}
}

func TestProgramThatIsNone(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	writable := script(t, "exit 0")
	if err := os.Chmod(writable, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, plain, writable, filepath.Join(dir, "missing")} {
		if CheckProgram(name) == nil {
			t.Errorf("CheckProgram finds nothing wrong with %s", name)
		}
	}
	if err := CheckProgram(script(t, "")); err != nil {
		t.Error(err)
	}
	c := &Checkpassword{Program: []string{filepath.Join(dir, "missing")}}
	if err := c.Check(t.Context(), "anna", "x"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Check says %v", err)
	}
}

func TestExists(t *testing.T) {
	for _, name := range []string{"", "-h", "root", "daemon", "nobody", "nosuchuser", "a:b", "a b", "../x", "a\x00b", "nobody\n", strings.Repeat("x", 300)} {
		if yes, err := Exists(name, DefaultMinUID); yes || err != nil {
			t.Errorf("Exists(%q) is %v, %v", name, yes, err)
		}
	}
	if yes, err := Exists("root", -5); yes || err != nil {
		t.Errorf("root exists where no bound is set: %v, %v", yes, err)
	}
}

// system runs a system program.
func system(t *testing.T, stdin string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", argv, err, out)
	}
}

func TestUnixChkpwd(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		unavailable(t, "only root makes accounts")
	}
	for _, program := range []string{"useradd", "chpasswd", "chage", "usermod", "userdel", "unix_chkpwd", "setpriv"} {
		if _, err := exec.LookPath(program); err != nil {
			unavailable(t, program+" is not installed")
		}
	}
	user := fmt.Sprintf("pbx%d", os.Getpid())
	system(t, "", "useradd", "--no-create-home", "--uid", fmt.Sprint(20000+os.Getpid()%20000), user)
	t.Cleanup(func() { exec.Command("userdel", user).Run() })
	const password = "Größe: 12 $(x) 'y'"
	system(t, user+":"+password, "chpasswd")

	c := &UnixChkpwd{}
	check := func(what, user, password string, want error) {
		t.Helper()
		if err := c.Check(t.Context(), user, password); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, not %v", what, err, want)
		}
	}
	if yes, err := Exists(user, DefaultMinUID); !yes || err != nil {
		t.Errorf("Exists says %v, %v", yes, err)
	}
	if yes, err := Exists(user, 60000); yes || err != nil {
		t.Errorf("Exists says %v, %v of an account below the bound", yes, err)
	}
	check("right", user, password, nil)
	check("wrong", user, password+"x", ErrInvalid)
	check("empty", user, "", ErrInvalid)
	check("beginning with the right one", user, password+"\x00x", ErrInvalid)
	check("too long", user, strings.Repeat("x", 600), ErrInvalid)
	check("unknown", "nosuchuser", password, ErrInvalid)
	check("root", "root", password, ErrInvalid)
	check("system account", "daemon", password, ErrInvalid)

	t.Run("not root", func(t *testing.T) {
		c := &UnixChkpwd{Program: script(t, `exec setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs unix_chkpwd "$@"`)}
		if err := c.Check(t.Context(), user, password); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "group shadow") {
			t.Errorf("Check says %v", err)
		}
	})
	t.Run("group shadow", func(t *testing.T) { // as in a unit with NoNewPrivileges and SupplementaryGroups
		c := &UnixChkpwd{Program: script(t, `exec setpriv --reuid=nobody --regid=nogroup --groups=shadow --no-new-privs unix_chkpwd "$@"`)}
		if err := c.Check(t.Context(), user, password); err != nil {
			t.Error(err)
		}
		if err := c.Check(t.Context(), user, "x"); !errors.Is(err, ErrInvalid) {
			t.Errorf("Check says %v", err)
		}
	})

	system(t, "", "chage", "--expiredate", "1", user)
	check("expired account", user, password, ErrInvalid)
	system(t, "", "chage", "--expiredate", "-1", "--lastday", "0", user)
	check("to be changed", user, password, ErrInvalid)
	system(t, "", "chage", "--lastday", "-1", user)
	check("as before", user, password, nil)
	system(t, "", "usermod", "--lock", user)
	check("locked", user, password, ErrInvalid)
	system(t, "", "usermod", "--password", "", user)
	check("without a password", user, "x", ErrInvalid)
	check("without a password, and none given", user, "", ErrInvalid)
	system(t, "", "userdel", user)
	check("removed", user, password, ErrInvalid)
}

func TestRefusalsTakeTheSameTime(t *testing.T) {
	t.Parallel()
	c := &Checkpassword{Program: []string{script(t, "exit 1")}}
	began := time.Now()
	if err := c.Check(t.Context(), "anna", "x"); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("a refusal took %v", took)
	}
}
