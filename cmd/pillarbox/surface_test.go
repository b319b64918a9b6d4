package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pillarbox/cmd/internal/config"
)

var updateSurface = flag.Bool("update-surface", false, "write testdata/surface.golden anew")

// TestSurface compares what scripts and configurations of administrators depend on with what it
// was: every verb and flag, every key with its default, every JSON field. A line that goes or
// changes breaks a script: it needs a line in CHANGELOG. Write the file anew with
// go test ./cmd/pillarbox -run TestSurface -update-surface.
func TestSurface(t *testing.T) {
	got := strings.Join(slices.Concat(verbsAndFlags(), keysAndDefaults(t), jsonFields(t)), "\n") + "\n"
	golden := filepath.Join("testdata", "surface.golden")
	if *updateSurface {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	before, after := strings.Split(string(text), "\n"), strings.Split(got, "\n")
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("is gone: %s", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("is new: %s", line)
		}
	}
}

func verbsAndFlags() (lines []string) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		lines = append(lines, "verb "+cmd.CommandPath())
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			lines = append(lines, fmt.Sprintf("flag %s --%s %q %s = %q", cmd.CommandPath(), f.Name, f.Shorthand, f.Value.Type(), f.DefValue))
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(new(app).rootCommand())
	return lines
}

// oneOfEach is the shortest file with an entry in each table.
const oneOfEach = `
hostname = "mail.office.example"
[[route]]
domains = ["partner.example"]
[[fetch]]
etrn_server = "mail.isp.example"
etrn_domains = ["office.example"]
[[directory]]
kind = "openldap"
servers = ["ldaps://dc1.corp.example"]
base = "dc=office,dc=example"
`

// keysAndDefaults takes those of tables too, from an entry of each.
func keysAndDefaults(t *testing.T) (lines []string) {
	file := filepath.Join(t.TempDir(), "pillarbox.toml")
	if err := os.WriteFile(file, []byte(oneOfEach), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range cfg.Effective() {
		lines = append(lines, fmt.Sprintf("key %s = %s", s.Key, strings.ReplaceAll(s.Value, filepath.Dir(file), "DIR")))
	}
	return lines
}

var jsonTag = regexp.MustCompile("`json:\"([a-z0-9_]+)")

// jsonFields are the names in the JSON that is printed and stored, wherever they are declared.
func jsonFields(t *testing.T) (lines []string) {
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		product := strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/lab/")
		if err != nil || e.IsDir() || !product {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range jsonTag.FindAllSubmatch(text, -1) {
			lines = append(lines, "json "+string(found[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}
