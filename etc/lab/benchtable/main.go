// Command benchtable reads the output of "go test -bench", passes it on, and adds a table. For each
// measurement the table shows the server's figure, those of its rivals from the same run, and the
// ratios.
//
// The last part of a benchmark's name says whose figure it is: "pillarbox", or a rival's name.
// Benchmarks without a figure of pillarbox are not in the table.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

const ours = "pillarbox"

// unit is the unit of a measurement. If a row has several, the first in the list of units is
// compared.
type unit struct {
	name   string
	shown  string
	more   bool    // more is better
	factor float64 // from the benchmark's figure to the one shown
}

func units() []unit {
	return []unit{
		{"msg/s", "messages/s", true, 1},
		{"logins/s", "logins/s", true, 1},
		{"MB/s", "MB/s", true, 1},
		{"B/conn", "KiB each", false, 1.0 / 1024},
		{"ns/op", "ms", false, 1e-6},
	}
}

// also lists the units of figures that are shown but not compared.
func also() []string {
	return []string{"cpu-s/1000", "flushes/msg", "ms-dele", "ms-quit", "MiB", "s-read", "cpu-s"}
}

// result is one line of a benchmark.
type result struct {
	row, who string
	figures  map[string]float64
}

var (
	benchLine = regexp.MustCompile(`^Benchmark(\S+)\s+\d+\s+(.*)`)
	processes = regexp.MustCompile(`-\d+$`)
)

// parse parses a line. ok is false if the line is no benchmark with a rival's name.
func parse(line string) (r result, ok bool) {
	m := benchLine.FindStringSubmatch(line)
	if m == nil {
		return r, false
	}
	name := processes.ReplaceAllString(m[1], "")
	at := strings.LastIndexByte(name, '/')
	if at < 0 {
		return r, false
	}
	r = result{row: name[:at], who: name[at+1:], figures: make(map[string]float64)}
	fields := strings.Fields(m[2])
	for i := 0; i+1 < len(fields); i += 2 {
		if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
			r.figures[fields[i+1]] = value
		}
	}
	return r, true
}

// run fails if no figure was measured. It also fails if the input says that go test failed, since
// the exit status of go test is lost in the pipe.
func run(in io.Reader, out io.Writer) error {
	var rows []string
	byRow := make(map[string][]result)
	failed := false
	for lines := bufio.NewScanner(in); lines.Scan(); {
		line := lines.Text()
		fmt.Fprintln(out, line)
		failed = failed || strings.HasPrefix(line, "FAIL") || strings.HasPrefix(line, "--- FAIL")
		if r, ok := parse(line); ok {
			if byRow[r.row] == nil {
				rows = append(rows, r.row)
			}
			byRow[r.row] = append(byRow[r.row], r)
		}
	}
	rows = slices.DeleteFunc(rows, func(row string) bool {
		return !slices.ContainsFunc(byRow[row], func(r result) bool { return r.who == ours })
	})
	if len(rows) == 0 {
		return fmt.Errorf("the input has no figures of %s", ours)
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "what\tunit\tpillarbox\t"+
		"rivals in the same run (and our speed relative to theirs)\talso")
	for _, row := range rows {
		writeRow(table, row, byRow[row])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if failed {
		return fmt.Errorf("a benchmark failed")
	}
	return nil
}

func writeRow(w io.Writer, row string, results []result) {
	slices.SortStableFunc(results, func(a, b result) int {
		return cmp.Compare(b2i(b.who == ours), b2i(a.who == ours))
	})
	own := results[0].figures
	all := units()
	u := all[slices.IndexFunc(all, func(u unit) bool {
		return own[u.name] != 0 || u.name == "ns/op"
	})]
	var rivals []string
	for _, r := range results[1:] {
		theirs := r.figures[u.name]
		part := theirs / own[u.name]
		if u.more {
			part = own[u.name] / theirs
		}
		rivals = append(rivals, fmt.Sprintf("%s %s (%.2f)", r.who, number(theirs*u.factor), part))
	}
	var besides []string
	for _, name := range also() {
		for _, r := range results {
			if figure, ok := r.figures[name]; ok {
				besides = append(besides, fmt.Sprintf("%s %s %s", r.who, number(figure), name))
			}
		}
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", row, u.shown, number(own[u.name]*u.factor),
		strings.Join(rivals, ", "), strings.Join(besides, ", "))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// number formats a figure with three significant digits.
func number(f float64) string {
	switch {
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	case f >= 1:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return strconv.FormatFloat(f, 'f', 3, 64)
}
