package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pillarbox": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts types commands and reads what they answer, hints included. Each
// script has a configuration and an empty data directory unless it brings its
// own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "retry": retry, "badlogin": badLogin, "smtptalk": smtpTalk, "poptalk": popTalk,
			"hold": hold, "ended": ended,
		},
	})
}

func setupScript(env *testscript.Env) error {
	file := filepath.Join(env.WorkDir, "pillarbox.toml")
	env.Values[heldKey{}] = make(map[string]heldClient)
	env.Setenv("PILLARBOX_CONFIG", file)
	env.Setenv("TZ", "UTC")
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command sleeps a second at its end under -race
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	config := "hostname = \"mail.office.example\"\ndata = \"data\"\n"
	return errors.Join(
		os.WriteFile(file, []byte(config), 0o600),
		os.MkdirAll(filepath.Join(env.WorkDir, "data"), 0o700),
	)
}

// exits runs a command and wants one exit code: "exits 2 pillarbox admin".
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// retry runs a command until it succeeds, for some seconds.
func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: retry program [args...]")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
	}
}
