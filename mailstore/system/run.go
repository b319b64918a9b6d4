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
	shown         = 80 // octets of a program's output in the log
	grace         = time.Second
)

// runner runs at most two programs for each processor at once, because each hashes a password. The
// zero value is ready to use.
type runner struct {
	once  sync.Once
	slots chan struct{}
}

// job is one program to run.
type job struct {
	argv    []string
	stdin   string
	third   string // input on descriptor 3; "": not open
	timeout time.Duration
	output  int // octets; 0: defaultOutput
}

// result is how a program ended.
type result struct {
	code   int
	output string
}

// run runs a program to its end, without the server's environment. An error is ErrUnavailable: the
// program has not decided about the password.
func (r *runner) run(ctx context.Context, j job) (result, error) {
	r.once.Do(func() { r.slots = make(chan struct{}, 2*runtime.NumCPU()) })
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return result{}, fmt.Errorf("%w: too many checks at once: %w", ErrUnavailable, ctx.Err())
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
		return result{}, fmt.Errorf("%w: %s wrote more than %d octets",
			ErrUnavailable, j.argv[0], out.max)
	}
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // a child process still holds its output
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
	// A process group, so that the program's children are killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace
	return cmd
}

// pipeOf returns a pipe that contains text and then ends. text must fit into the pipe's buffer.
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

// bounded keeps the first max octets of a program's output. A program that writes more gets
// SIGPIPE; if it ignores that, it runs until its timeout.
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

// quoted returns the beginning of a program's output for the log, without the output if it contains
// the secret.
func (r result) quoted(secret string) string {
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

// padRefusal makes a refusal take a multiple of 250 ms.
func padRefusal(ctx context.Context, check func() error) error {
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
