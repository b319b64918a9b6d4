package main

import (
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/statistics"
)

// No cell of the CSV is a formula, breaks its line, or has control characters.
func TestStatisticsCSV(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"anna@office.example": "anna@office.example",
		`=HYPERLINK("http")`:  `"'=HYPERLINK(""http"")"`,
		"+1":                  "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)",
		"a,b\"c":         `"a,b""c"`,
		"a\r\n\x1b[2J=1": "a???[2J=1",
		"\t=1":           "?=1",
	} {
		var out strings.Builder
		if err := writeStatisticsCSV(&out, []statistics.Row{{Name: "x", Program: text}}); err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(out.String(), "\r\n")
		if line != "x,0,0,0,0,0,0,0,0,0,0,,,"+want+"\r\n" {
			t.Errorf("%q: %q", text, line)
		}
	}
}

func TestStatisticsRow(t *testing.T) {
	got := statisticsRow(statistics.Row{
		Name: "anna@office.example", In: statistics.Count{Messages: 3, Octets: 2048},
		Refused: 2, LastLogin: time.Date(2026, 11, 30, 10, 14, 0, 0, time.Local), Service: "pop3",
		Program: "Evil\x1b[2J " + strings.Repeat("x", 100),
	})
	want := "anna@office.example\t3\t2.0 KiB\t0\t0 B\t0\t2\t0\t0 B\t2026-11-30 10:14:00 pop3\tEvil?[2J " +
		strings.Repeat("x", 28) + "..."
	if got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
}
