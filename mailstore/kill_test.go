package mailstore

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pillarbox/mailstore/durable"
)

const (
	killDirVar    = "PILLARBOX_TEST_KILL_DIR"    // set: this process is the victim
	killRoundsVar = "PILLARBOX_TEST_KILL_ROUNDS" // how often the parent kills; default 5
)

// TestKill kills a delivering process with SIGKILL again and again. Every acknowledged message is
// in each of its mailboxes, once and whole, and no partial message is anywhere.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killDirVar); dir != "" {
		victim(t, dir)
	}
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv(killRoundsVar)); err == nil {
		rounds = n
	}
	h := newHouse(t, Options{})
	acknowledged := make(map[string][]string) // mailboxes by token
	for range rounds {
		for _, line := range killOnce(t, h.dir, 1+rand.IntN(80)) {
			token, dirs, _ := strings.Cut(line, " ")
			acknowledged[token] = strings.Split(dirs, ",")
		}
		must(t, h.Recover(RecoverOptions{}))
		h.wantIncoming(t, 0)
	}
	t.Logf("%d messages acknowledged in %d rounds", len(acknowledged), rounds)
	for _, box := range everybody {
		assertKept(t, h, box, acknowledged)
	}
}

func assertKept(t *testing.T, h house, box string, acknowledged map[string][]string) {
	t.Helper()
	must(t, h.Check(box))
	held := make(map[string]int)
	for _, body := range bodies(t, h.Store, box) {
		token, rest, _ := strings.Cut(body, "\r\n")
		if _, sum, _ := strings.Cut(token, "-"); sum != checksum(rest) {
			t.Errorf("%s: a message is not whole: %.80q", box, body)
		}
		held[token]++
	}
	for token, dirs := range acknowledged {
		want := 0
		if slices.Contains(dirs, box) {
			want = 1
		}
		if held[token] != want {
			t.Errorf("%s: acknowledged message %.20s is there %d times, want %d", box, token, held[token], want)
		}
	}
	for token, n := range held {
		if n > 1 {
			t.Errorf("%s: message %.20s is there %d times", box, token, n)
		}
	}
}

// killOnce starts a victim, kills it after some acknowledgements and returns all of them.
func killOnce(t *testing.T, dir string, after int) (lines []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killDirVar+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		lines = append(lines, scan.Text())
		if len(lines) == after {
			must(t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); err == nil || len(lines) < after {
		t.Fatalf("the victim ended by itself: %v: %q", err, lines)
	}
	return lines
}

// victim delivers until it is killed, and prints a line for each acknowledged message.
func victim(t *testing.T, dir string) {
	root, err := durable.Open(dir)
	must(t, err)
	_, err = durable.TryLock(root, "lock")
	must(t, err)
	s, err := Open(root, Options{})
	must(t, err)
	must(t, s.Recover(RecoverOptions{}))
	done := make(chan error)
	for range 4 {
		go func() {
			for {
				if err := deliverOne(s); err != nil {
					done <- err
				}
			}
		}()
	}
	t.Fatal(<-done)
}

func deliverOne(s *Store) error {
	in := s.Create()
	defer in.Abort()
	rest := strings.Repeat("text\r\n", rand.IntN(20_000))
	token := in.ID() + "-" + checksum(rest)
	if _, err := io.WriteString(in, token+"\r\n"+rest); err != nil {
		return err
	}
	var dirs []string
	for _, box := range everybody {
		if rand.IntN(3) > 0 {
			dirs = append(dirs, box)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	if _, err := in.Commit(dirs); err != nil {
		return err
	}
	_, err := fmt.Fprintf(os.Stdout, "%s %s\n", token, strings.Join(dirs, ","))
	return err
}

func checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
