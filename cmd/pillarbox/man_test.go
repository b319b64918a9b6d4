package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command that a person may type has a manual page, and two builds of the pages are equal.
func TestManualPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		t.Setenv("PILLARBOX_CONFIG", dir) // must not reach the pages
		if code := run([]string{"man", dir}, strings.NewReader(""), io.Discard, io.Discard); code != 0 {
			t.Fatalf("run %d: exit code %d", i, code)
		}
	}
	var pages int
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		pages++
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		first, err := os.ReadFile(filepath.Join(dirs[0], name))
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(filepath.Join(dirs[1], name))
		if err != nil || string(first) != string(second) {
			t.Errorf("%s differs in a second build: %v", name, err)
		}
		if !strings.Contains(string(first), "Nov 2023") {
			t.Errorf("%s has another date", name)
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(new(app).rootCommand())
	if pages < 100 {
		t.Errorf("%d pages", pages)
	}
}
