package simulate

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mutation puts a fault back into the product: in files, one text in place of another.
type mutation struct {
	name    string
	within  int // histories
	seed    uint64
	changes []change
}

type change struct{ file, old, new string }

// parseMutation reads a file of testdata/mutations:
//
//	# what the fault is
//	within 200
//	file mailstore/delivery.go
//	<<<<
//	the old text
//	====
//	the new text
//	>>>>
//
// with as many files and changes as the fault takes.
func parseMutation(name, text string) (m mutation, err error) {
	m = mutation{name: name, within: 200}
	var file string
	for lines := strings.SplitAfter(text, "\n"); len(lines) > 0; {
		line := strings.TrimSpace(lines[0])
		lines = lines[1:]
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "", "#":
		case "within":
			m.within, err = strconv.Atoi(rest)
		case "seed":
			m.seed, err = strconv.ParseUint(rest, 10, 64)
		case "file":
			file = rest
		case "<<<<":
			var c change
			if c, lines, err = parseChange(file, lines); err == nil {
				m.changes = append(m.changes, c)
			}
		default:
			err = fmt.Errorf("%q is not understood", line)
		}
		if err != nil {
			return m, fmt.Errorf("%s: %w", name, err)
		}
	}
	return m, nil
}

func parseChange(file string, lines []string) (c change, rest []string, err error) {
	c.file = file
	into := &c.old
	for i, line := range lines {
		switch strings.TrimSpace(line) {
		case "====":
			into = &c.new
		case ">>>>":
			return c, lines[i+1:], nil
		default:
			*into += line
		}
	}
	return c, nil, fmt.Errorf("a change of %s does not end", file)
}

func readMutations(t *testing.T) (all []mutation) {
	t.Helper()
	files, err := filepath.Glob("testdata/mutations/*.txt")
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		m, err := parseMutation(strings.TrimSuffix(filepath.Base(file), ".txt"), string(text))
		must(t, err)
		all = append(all, m)
	}
	return all
}

const top = "../../.." // the project

// apply returns the texts of the files that the mutation changes, by their paths.
func (m *mutation) apply() (map[string]string, error) {
	texts := make(map[string]string)
	for _, c := range m.changes {
		path, err := filepath.Abs(filepath.Join(top, c.file))
		if err != nil {
			return nil, err
		}
		if texts[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], c.old); n != 1 {
			return nil, fmt.Errorf("mutation %s: the old text is in %s %d times, and must be there once", m.name, c.file, n)
		}
		texts[path] = strings.Replace(texts[path], c.old, c.new, 1)
	}
	return texts, nil
}

// TestMutationsApply: each mutation still fits the product.
func TestMutationsApply(t *testing.T) {
	for _, m := range readMutations(t) {
		if _, err := m.apply(); err != nil {
			t.Error(err)
		}
	}
}

// TestMutations builds the simulation around each fault, and it must find it.
func TestMutations(t *testing.T) {
	only := os.Getenv("SIMULATE_MUTATIONS")
	if only == "" {
		t.Skip("make simulate-mutations runs it: each mutation is a build of its own")
	}
	for _, m := range readMutations(t) {
		if only != "all" && only != m.name {
			continue
		}
		t.Run(m.name, func(t *testing.T) { m.mustBeFound(t) })
	}
}

func (m *mutation) mustBeFound(t *testing.T) {
	binary := m.build(t)
	p := &process{binary: binary}
	defer p.stop()
	s := readSettings(t)
	began := time.Now()
	for n := range m.within {
		h := generate(m.seed+uint64(n)+1, s.steps, s.without)
		wrong := p.run(h)
		if len(wrong) == 0 {
			continue
		}
		short := shrink(h, 30*time.Second, func(h History) string { return first(p.run(h)) })
		t.Logf("%s was found after %d histories, %v: %s\n%s", m.name, n+1, time.Since(began).Round(time.Second), wrong[0], short)
		fmt.Printf("| %s | %d | %.120s |\n", m.name, n+1, strings.ReplaceAll(wrong[0], "\n", " "))
		return
	}
	t.Errorf("%s was not found in %d histories", m.name, m.within)
}

func (m *mutation) build(t *testing.T) (binary string) {
	t.Helper()
	texts, err := m.apply()
	must(t, err)
	dir := t.TempDir()
	replace := make(map[string]string)
	for path, text := range texts {
		name := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		must(t, os.WriteFile(name, []byte(text), 0o600))
		replace[path] = name
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	must(t, os.WriteFile(overlay, text, 0o600))
	binary = filepath.Join(dir, "simulate.test")
	if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}
