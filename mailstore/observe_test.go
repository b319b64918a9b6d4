package mailstore

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/mailstore/durable"
)

// TestTook: each step of the store is measured, the log fills and is emptied, and the store tells
// whether it takes mail.
func TestTook(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.MkdirAll("mailbox/office.example/P3_anna.mbx", 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	steps := map[Step]int{}
	err = s.Recover(RecoverOptions{
		LogSize: 1 << 20, SyncDelay: time.Hour,
		Took: func(step Step, took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			if steps[step]++; took < 0 || took > time.Minute {
				t.Errorf("%s took %s", step, took)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if fill := s.LogFill(); fill != 0 {
		t.Errorf("an empty log is filled to %f", fill)
	}
	in := s.Create()
	defer in.Abort()
	if _, err := io.Copy(in, strings.NewReader("Subject: one\r\n\r\ntext\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Commit([]string{"mailbox/office.example/P3_anna.mbx"}); err != nil {
		t.Fatal(err)
	}
	if fill := s.LogFill(); fill <= 0 || fill > 0.5 {
		t.Errorf("a log with one record is filled to %f", fill)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if fill := s.LogFill(); fill != 0 {
		t.Errorf("after a checkpoint the log is filled to %f", fill)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if steps[StepCommit] != 1 || steps[StepFlush] < 1 || steps[StepSync] < 1 {
		t.Errorf("%v", steps)
	}
}

// TestReady: a store that must be recovered is not ready, without a wait.
func TestReady(t *testing.T) {
	s := &Store{gate: newGate(), maintainer: &maintainer{}}
	s.log.Store(&storeLog{})
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	s.gate.requireRecovery()
	if err := s.Ready(); !errors.Is(err, ErrRecovering) {
		t.Error(err)
	}
	s.gate.recovered(nil)
	s.log.Store(nil)
	if err := s.Ready(); err == nil {
		t.Error("a store without a log is ready")
	}
}
