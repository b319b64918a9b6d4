//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// systemPassword is the password of the account that a test adds to this machine.
const systemPassword = "Größe 12 $(x) 'y' \"z\" \\"

// newAccount adds an account to this machine, and a mailbox with its name in a domain with the
// method system.
func (o *office) newAccount(t *testing.T) (user string) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "only root makes accounts")
	}
	needs(t, "useradd", "chpasswd", "usermod", "chage", "userdel", "setpriv")
	if _, err := os.Stat("/usr/sbin/unix_chkpwd"); err != nil {
		unavailable(t, "unix_chkpwd is not installed; .ci/packages.txt lists what these tests need")
	}
	user = "pbe" + strconv.Itoa(os.Getpid()) // different for each run
	mustRun(t, exec.Command("useradd", "--no-create-home", "--no-user-group", "--shell", "/usr/sbin/nologin", user))
	t.Cleanup(func() { exec.Command("userdel", user).Run() })
	cmd := exec.Command("chpasswd")
	cmd.Stdin = strings.NewReader(user + ":" + systemPassword + "\n")
	mustRun(t, cmd)
	o.pillarbox(t, "", "admin", "domain", "method", domain, "system")
	o.pillarbox(t, "", "admin", "mailbox", "add", user, "--no-password")
	return user
}

// TestSystemAccounts logs in with an account of the machine.
func TestSystemAccounts(t *testing.T) {
	o := newOffice(t)
	user := o.newAccount(t)
	o.pillarbox(t, "", "admin", "alias", "remove", "root") // setup made it
	for _, name := range []string{"root", "daemon", "nobody", "nosuchuser"} {
		o.pillarbox(t, "", "admin", "mailbox", "add", name, "--no-password")
	}
	s := o.serve(t)
	o.wantLogins(t, user, systemPassword, "", "")
	for _, name := range []string{user, user + "@" + domain, strings.ToUpper(user), `OFFICE\` + user} {
		o.wantDoors(t, name, systemPassword, "", "")
	}
	o.deliver(t, letter("to an account"), user+"@"+domain)
	if messages, _ := o.fetched(t, user, systemPassword); len(messages) != 1 {
		t.Errorf("%d messages are fetched, want 1", len(messages))
	}
	o.wantNoDoors(t, []login{
		{user, systemPassword + "x"}, {"root", systemPassword}, {"daemon", systemPassword}, {"nobody", ""}, {"nosuchuser", systemPassword},
		{"-h", systemPassword}, {anna, annaPassword}, {boss, ""},
	})
	s.wantLog(t, `user=root remote_ip=127.0.0.1 mechanism=password reason="invalid user name or password: the system refuses the password: an account of the system, not of a person"`)

	// The commands show the method of the mailbox, and can change it.
	out := o.pillarbox(t, "", "admin", "mailbox", "show", user)
	if !strings.Contains(out, "checked by system") || !strings.Contains(out, "NTLM, CRAM-MD5, APOP: its password is checked by system") {
		t.Errorf("admin mailbox show says\n%s", out)
	}
	o.pillarbox(t, annaPassword, "admin", "mailbox", "migrate-auth", user, "file", "--password-stdin")
	o.wantDoors(t, user, annaPassword, "", "")
	o.pillarbox(t, "", "admin", "mailbox", "migrate-auth", user, "system")
	o.wantDoors(t, user, systemPassword, "", "")

	mustRun(t, exec.Command("usermod", "--lock", user))
	o.wantDoors(t, user, systemPassword, wrongPOP3, wrongSMTP)
	mustRun(t, exec.Command("usermod", "--unlock", user))
	mustRun(t, exec.Command("chage", "--expiredate", "1", user))
	o.wantDoors(t, user, systemPassword, wrongPOP3, wrongSMTP)
	s.wantLog(t, "the account has expired")
	s.stop(t)
	if strings.Contains(s.log.String(), systemPassword) {
		t.Error("the log holds the password")
	}
}

// serveAs is serve as another user, who becomes the owner of the whole office. The process has the
// same rights as the service of the packaged unit.
func (o *office) serveAs(t *testing.T, groups string) *server {
	t.Helper()
	uid := strings.TrimPrefix(somebody, "#")
	for dir := o.dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		noError(t, os.Chmod(dir, 0o755))
	}
	noError(t, os.MkdirAll(o.path("bin"), 0o755))
	mustRun(t, exec.Command("install", "-m", "0755", binary, o.path("bin", "pillarbox")))
	mustRun(t, exec.Command("chown", "-R", uid+":"+uid, o.dir))
	// The words after it are the binary, which this user cannot reach, and its arguments.
	return o.serve(t, "sh", "-c", fmt.Sprintf(`shift; exec setpriv --reuid=%s --regid=%[1]s %s --no-new-privs '%s' "$@"`, uid, groups, o.path("bin", "pillarbox")), "sh")
}

// TestSystemNotRoot checks that a server without root says what it lacks, and works with the group
// shadow.
func TestSystemNotRoot(t *testing.T) {
	o := newOffice(t)
	user := o.newAccount(t)
	s := o.serveAs(t, "--clear-groups")
	o.wantDoors(t, user, systemPassword, laterPOP3, laterSMTP)
	o.wantDoors(t, user, systemPassword+"x", laterPOP3, laterSMTP)
	s.wantLog(t, "may not read /etc/shadow for this server: it must be root's or in the group shadow, or ask a checkpassword program")
	s.stop(t)

	s = o.serveAs(t, "--groups=shadow")
	o.wantDoors(t, user, systemPassword, "", "")
	o.wantDoors(t, user, systemPassword+"x", wrongPOP3, wrongSMTP)
	s.stop(t)
}

// checkpassword is a program of that protocol. It writes its input to a file.
const checkpassword = `#!/bin/sh
out=$1; shift
data=$(tr '\0' '|' <&3)
user=${data%%|*}; rest=${data#*|}; password=${rest%%|*}
echo "$user" >>"$out.users"
{ tr '\0' ' ' <"/proc/$$/cmdline"; tr '\0' '\n' <"/proc/$$/environ"; } >"$out.seen"
[ "$user" = anna ] && [ "$password" = 'Korrekt.Horse+anna1' ] || exit 1
exec "$@"
`

// TestSystemCheckpassword runs programs of the checkpassword protocol, correct ones and others.
func TestSystemCheckpassword(t *testing.T) {
	o := newOffice(t)
	program, out := o.path("check"), o.path("told")
	install := func(text string) {
		t.Helper()
		noError(t, os.WriteFile(program+".new", []byte(text), 0o700))
		noError(t, os.Rename(program+".new", program))
	}
	install(checkpassword)
	o.set(t, "auth", "method", `"system"`)
	o.set(t, "system", "check", `"checkpassword"`)
	o.set(t, "system", "checkpassword", fmt.Sprintf(`[%q, %q]`, program, out))
	o.set(t, "system", "timeout", `"1s"`)
	s := o.serve(t)
	for _, name := range []string{anna, "anna", "Anna@Office.Example", `OFFICE\anna`} {
		o.wantDoors(t, name, annaPassword, "", "")
	}
	o.wantNoDoors(t, []login{{anna, wrongPassword}, {boss, annaPassword}, {"nobody", annaPassword}, {"root", annaPassword}})
	for user := range strings.Lines(read(t, out+".users")) {
		if user != "anna\n" && user != "boss\n" && user != "nobody\n" {
			t.Errorf("the program was asked about %q", user)
		}
	}
	seen := read(t, out+".seen")
	if !strings.HasPrefix(seen, "/bin/sh "+program+" "+out+" /bin/true ") || strings.Contains(seen, "PILLARBOX") || strings.Contains(seen, "Korrekt") {
		t.Errorf("the program's arguments and environment are\n%s", seen)
	}

	for _, test := range []struct{ name, program, log string }{
		{"temporary failure", "#!/bin/sh\necho the database is away >&2\nexit 111\n", `exit status 111: \"the database is away\"`},
		{"babbling", "#!/bin/sh\nwhile :; do echo blah blah; done\n", "wrote more than 4096 octets"},
		{"babbling and content", "#!/bin/sh\nhead -c 9000 /dev/zero\nexit 0\n", "wrote more than 4096 octets"},
		{"crash", "#!/bin/sh\nkill -SEGV $$\n", "segmentation fault"},
		{"no interpreter", "#!/nonsense\n", "no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			install(test.program)
			o.wantDoors(t, anna, annaPassword, laterPOP3, laterSMTP)
			s.wantLog(t, test.log)
		})
	}
	t.Run("hanging", func(t *testing.T) {
		pid := o.path("pid")
		install("#!/bin/sh\nsleep 600 & echo $$ $! >'" + pid + ".new'; mv '" + pid + ".new' '" + pid + "'; wait\n")
		replies := make(chan string, 1)
		begun := time.Now()
		go func() {
			_, err := o.logIn(anna, annaPassword)
			replies <- fmt.Sprint(err)
		}()
		eventually(t, "the program runs", func() bool { _, err := os.Stat(pid); return err == nil })
		pids := strings.Fields(read(t, pid))
		for _, file := range []string{"cmdline", "environ"} {
			text := read(t, "/proc/"+pids[0]+"/"+file)
			if text == "" || strings.Contains(text, annaPassword) || strings.Contains(text, "PILLARBOX") {
				t.Errorf("/proc/%s/%s holds %q", pids[0], file, text)
			}
		}
		if reply := <-replies; !strings.HasPrefix(reply, laterPOP3) {
			t.Errorf("answered %q", reply)
		}
		if took := time.Since(begun); took < 900*time.Millisecond || took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		s.wantLog(t, program+" did not end: context deadline exceeded")
		for _, pid := range pids {
			eventually(t, "process "+pid+" is gone", func() bool {
				stat, err := os.ReadFile("/proc/" + pid + "/stat")
				return err != nil || strings.Contains(string(stat), ") Z ")
			})
		}
	})
	install(checkpassword)
	o.wantDoors(t, anna, annaPassword, "", "")
	s.stop(t) // it also checks the log for passwords
}
