package system

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
)

const (
	defaultOutput = 4096
	shown         = 80 // of a program's output, in the log
	grace         = time.Second
)

// runner runs programs, no more than two for each processor at once: each hashes
// a password. The zero value is ready for use.
type runner struct {
	once  sync.Once
	slots chan struct{}
}

// job is one program to run.
type job struct {
	argv    []string
	stdin   string
	third   string // what descriptor 3 gives; "": there is none
	timeout time.Duration
	output  int // octets; 0: defaultOutput
}

// result is how it ended.
type result struct {
	code   int
	output string
}

// run runs a program to its end, with nothing of the server's environment. The
// error is ErrUnavailable: the program did not say anything about the password.
func (r *runner) run(ctx context.Context, j job) (result, error) {
	r.once.Do(func() { r.slots = make(chan struct{}, 2*runtime.NumCPU()) })
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return result{}, fmt.Errorf("%w: too many passwords are being checked: %w", ErrUnavailable, ctx.Err())
	}
	defer func() { <-r.slots }()

	out := &bounded{max: cmp.Or(j.output, defaultOutput)}
	cmd := command(ctx, j, out)
	if j.third != "" {
		f, err := pipeOf(j.third)
		if err != nil {
			return result{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		defer f.Close()
		cmd.ExtraFiles = []*os.File{f}
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return result{}, fmt.Errorf("%w: %s did not end: %w", ErrUnavailable, j.argv[0], ctx.Err())
	}
	if out.full {
		return result{}, fmt.Errorf("%w: %s wrote more than %d octets", ErrUnavailable, j.argv[0], out.max)
	}
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // a child of it still holds its output
		return result{0, out.text.String()}, nil
	case ended && exit.Exited():
		return result{exit.ExitCode(), out.text.String()}, nil
	}
	return result{}, fmt.Errorf("%w: %s: %w", ErrUnavailable, j.argv[0], err)
}

func command(ctx context.Context, j job, out *bounded) *exec.Cmd {
	cmd := exec.CommandContext(ctx, j.argv[0], j.argv[1:]...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C"}
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(j.stdin)
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own, so that what the program started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace
	return cmd
}

// pipeOf is a pipe that holds text, which fits into it whole, and nothing after.
func pipeOf(text string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.WriteString(text)
	if err = errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// bounded keeps so much. Who writes more finds nobody who reads it, and gets a
// SIGPIPE; who does not mind that has until the time-out.
type bounded struct {
	max  int
	text bytes.Buffer
	full bool
}

var errFull = errors.New("too much output")

func (b *bounded) Write(p []byte) (int, error) {
	room := b.max - b.text.Len()
	b.text.Write(p[:min(len(p), room)])
	if len(p) > room {
		b.full = true
		return room, errFull
	}
	return len(p), nil
}

// said is the beginning of a program's output for the log, quoted; nothing where
// it holds the secret.
func (r result) said(secret string) string {
	text := strings.TrimSpace(r.output)
	switch {
	case text == "":
		return ""
	case strings.Contains(r.output, secret):
		return " (its output holds the password and is not shown)"
	case len(text) > shown:
		return fmt.Sprintf(": %q…", text[:shown])
	}
	return fmt.Sprintf(": %q", text)
}

func control(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }

// evenly lets a refusal take a whole number of quarter seconds.
func evenly(ctx context.Context, check func() error) error {
	const step = 250 * time.Millisecond
	began := time.Now()
	err := check()
	if !errors.Is(err, ErrInvalid) {
		return err
	}
	timer := time.NewTimer(step - time.Since(began)%step)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}
