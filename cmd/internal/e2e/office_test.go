//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	domain   = "office.example"
	hostname = "mail." + domain
	anna     = "anna@" + domain
	boss     = "boss@" + domain

	annaPassword  = "Korrekt.Horse+anna1"
	bossPassword  = "Korrekt.Horse+boss2"
	wrongPassword = "Korrekt.Horse+wrong"
)

// binary is the pillarbox command under test, set by TestMain.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pillarbox-e2e")
	if err == nil {
		binary, err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) (string, error) {
	if path := os.Getenv("PILLARBOX_E2E_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "pillarbox")
	cmd := exec.Command("go", "build", "-o", path, "pillarbox/cmd/pillarbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// needs skips the test if a program is missing. With CI=true it fails instead, so that a skip
// cannot hide a missing test.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		unavailable(t, program+" is not installed; .ci/packages.txt lists what these tests need")
	}
}

// unavailable skips the test, or fails it with CI=true.
func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" || os.Getenv("PILLARBOX_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// office is a configured server: the domain office.example with the mailboxes anna and boss, on
// free ports of 127.0.0.1.
type office struct {
	dir    string // the configuration, the data and the clients' files
	config string
	ca     string            // PEM file of the CA that clients trust
	listen map[string]string // address by service, as in [listen]
}

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := t.TempDir()
	o := &office{
		dir:    dir,
		config: filepath.Join(dir, "pillarbox.toml"),
		ca:     filepath.Join(dir, "ca.pem"),
	}
	o.pillarbox(t, annaPassword+"\n"+bossPassword+"\n", "setup", domain, "--hostname", hostname,
		"--mailbox", "anna", "--mailbox", "boss", "--password-stdin",
		"--data", o.path("data"), "--port-offset", strconv.Itoa(freeOffset(t)))
	o.bindLoopback(t)
	o.pillarbox(t, "", "admin", "tls", "export-ca", "--output", o.ca)
	return o
}

// freeOffset finds a port offset at which all ports are free, below the system's ports for clients.
func freeOffset(t *testing.T) int {
	t.Helper()
	for range 1000 {
		offset := 10_000 + rand.IntN(20_000)
		taken := func(port int) bool {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", offset+port))
			if err == nil {
				l.Close()
			}
			return err != nil
		}
		if !slices.ContainsFunc([]int{25, 110, 465, 587, 995}, taken) {
			return offset
		}
	}
	t.Fatal("no free ports")
	return 0
}

var listenLine = regexp.MustCompile(`(?m)^(smtp|submission|smtps|pop3|pop3s) = \[":(\d+)"\]$`)

// bindLoopback makes the server listen only on loopback, and records its addresses.
func (o *office) bindLoopback(t *testing.T) {
	t.Helper()
	o.listen = make(map[string]string)
	o.edit(t, func(config string) string {
		for _, m := range listenLine.FindAllStringSubmatch(config, -1) {
			o.listen[m[1]] = "127.0.0.1:" + m[2]
		}
		return listenLine.ReplaceAllString(config, `$1 = ["127.0.0.1:$2"]`)
	})
	if len(o.listen) != 5 {
		t.Fatalf("setup wrote other listeners than expected: %v", o.listen)
	}
}

// edit changes the configuration file.
func (o *office) edit(t *testing.T, change func(config string) string) {
	t.Helper()
	old, err := os.ReadFile(o.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := change(string(old))
	if changed == string(old) {
		t.Fatal("the edit changes nothing in the configuration")
	}
	if err := os.WriteFile(o.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (o *office) path(elem ...string) string {
	return filepath.Join(append([]string{o.dir}, elem...)...)
}

// mailbox returns the directory of a mailbox.
func (o *office) mailbox(address string) string {
	user, of, _ := strings.Cut(address, "@")
	return o.path("data", "mailbox", of, "P3_"+user+".mbx")
}

// files returns the message files of a mailbox, in the order of arrival.
func (o *office) files(t testing.TB, address string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(o.mailbox(address), "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// stored returns the texts of a mailbox's messages.
func (o *office) stored(t testing.TB, address string) []string {
	t.Helper()
	var messages []string
	for _, file := range o.files(t, address) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, string(text))
	}
	return messages
}

// empty removes all messages of a mailbox.
func (o *office) empty(t *testing.T, address string) {
	t.Helper()
	for _, file := range o.files(t, address) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// environment returns the environment of programs, without the settings of the user.
func (o *office) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir, "LC_ALL=C", "NO_PROXY=*",
		"PILLARBOX_CONFIG=" + o.config, "PILLARBOX_LOG_LEVEL=debug",
	}
}

// command returns a command that is killed if the test takes too long.
func (o *office) command(t testing.TB, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = o.environment()
	return cmd
}

// run runs a command and returns its whole output and its exit code.
func run(t testing.TB, cmd *exec.Cmd) (output string, code int) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// mustRun is run for a command that must succeed.
func mustRun(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, code := run(t, cmd)
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s", cmd.Args, code, out)
	}
	return out
}

// pillarbox runs the command under test, which must succeed.
func (o *office) pillarbox(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := o.command(t, binary, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return mustRun(t, cmd)
}

// serverLog collects the log and notices the line which says that the server is ready.
type serverLog struct {
	ready chan struct{} // closed when the server is ready

	mu   sync.Mutex
	text bytes.Buffer // owner: mu
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const line = "pillarbox is ready"
	was := bytes.Contains(l.text.Bytes(), []byte(line))
	l.text.Write(p)
	if !was && bytes.Contains(l.text.Bytes(), []byte(line)) {
		close(l.ready)
	}
	return len(p), nil
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// server is a running "pillarbox serve".
type server struct {
	cmd    *exec.Cmd
	log    serverLog
	ended  chan struct{} // closed when the process has ended
	errors []string      // parts of expected ERROR lines
}

// serve starts the server, with the words of prefix before its command, and stops it at the end of
// the test. Then its log must be clean.
func (o *office) serve(t *testing.T, prefix ...string) *server {
	t.Helper()
	args := append(slices.Clone(prefix), binary, "serve", "--config", o.config)
	s := &server{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	s.log.ready = make(chan struct{})
	s.cmd.Env, s.cmd.Stderr = o.environment(), &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		s.cmd.Wait()
	}()
	t.Cleanup(func() { s.stop(t) })
	select {
	case <-s.log.ready:
	case <-s.ended:
		t.Fatalf("the server did not start: %v\n%s", s.cmd.ProcessState, s.log.String())
	case <-time.After(30 * time.Second):
		t.Fatalf("the server is not ready after 30 seconds\n%s", s.log.String())
	}
	return s
}

// stop ends the server like a service manager, and checks its exit. It does nothing if the server
// has ended.
func (s *server) stop(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
		return
	default:
	}
	s.signal(t, syscall.SIGTERM)
	s.wait(t)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the server ended with %v, want exit code 0", s.cmd.ProcessState)
	}
	s.checkLog(t)
	if t.Failed() {
		t.Logf("the end of the server's log:\n%s", tail(s.log.String(), 60))
	}
}

// kill ends the server like a power cut.
func (s *server) kill(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGKILL)
	s.wait(t)
	s.checkLog(t)
}

func (s *server) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func (s *server) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(45 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
		t.Fatalf("the server did not end within 45 seconds\n%s", tail(s.log.String(), 60))
	}
}

// checkLog finds unexpected errors in the log, and passwords, also in the encodings of AUTH PLAIN
// and LOGIN.
func (s *server) checkLog(t *testing.T) {
	t.Helper()
	text := s.log.String()
	for line := range strings.Lines(text) {
		expected := slices.ContainsFunc(s.errors, func(part string) bool { return strings.Contains(line, part) })
		if strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") && !expected {
			t.Errorf("in the log: %s", line)
		}
	}
	for user, password := range map[string]string{anna: annaPassword, boss: bossPassword, "x": wrongPassword} {
		plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
		for _, secret := range []string{password, plain, base64.StdEncoding.EncodeToString([]byte(password))} {
			if strings.Contains(text, secret) {
				t.Errorf("the log holds the password %s", secret)
			}
		}
	}
}

// tail returns the last n lines of a text.
func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
