package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	in := `goos: linux
BenchmarkAccept/connections=1/pillarbox-2  4000  579122 ns/op  0.3239 cpu-s/1000  1.001 flushes/msg  1700 msg/s  24257 B/op
BenchmarkAccept/connections=1/log-2  4000  400000 ns/op  0.1 cpu-s/1000  2000 msg/s
BenchmarkPOP3/stat/first/messages=1000/bare-2  10  1000000 ns/op
BenchmarkPOP3/stat/first/messages=1000/pillarbox-2  10  1250000 ns/op
BenchmarkOther-2  10  1250000 ns/op
BenchmarkOther/sub-2  10  1250000 ns/op
PASS
`
	var out strings.Builder
	if err := run(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	table, ok := strings.CutPrefix(out.String(), in+"\n")
	if !ok {
		t.Fatalf("the input is not passed on: %s", out.String())
	}
	want := `what unit pillarbox rivals in the same run (and our speed relative to theirs) also
Accept/connections=1 messages/s 1700 log 2000 (0.85) pillarbox 0.324 cpu-s/1000, log 0.100 cpu-s/1000, pillarbox 1.00 flushes/msg
POP3/stat/first/messages=1000 ms 1.25 bare 1.00 (0.80)
`
	var got strings.Builder
	for line := range strings.Lines(table) {
		got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	for _, bad := range []string{"", "PASS\n", in + "--- FAIL: BenchmarkX\n", "BenchmarkX/bare 1 2 ns/op\n"} {
		if err := run(strings.NewReader(bad), &out); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
