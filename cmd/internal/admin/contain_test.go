package admin

import (
	"fmt"
	"strings"
	"testing"
)

// TestCheckPanicIsContained checks that a panic in one part of the check becomes a finding, and
// that the other parts continue.
func TestCheckPanicIsContained(t *testing.T) {
	o := mailOffice(t)
	spool(t, o, queueDir, "P3_20260101000000000000000001", ".env gone")
	o.Store = nil // whatever is asked of it brings the program to a panic
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	found := make(map[Problem]int)
	for _, f := range r.Findings {
		found[f.Problem]++
		if f.Problem == ProblemProgram && (!strings.Contains(f.Text, "a mistake of the program") || f.Hint == "" || f.Where == "") {
			t.Errorf("%+v", f)
		}
	}
	if err != nil || found[ProblemProgram] != 2 || found[ProblemQueue] != 1 || r.Wrong != 3 {
		t.Errorf("%v, %+v", err, r.Findings)
	}
}

// TestTransferPanicIsContained checks that a panic with one message is a failure of that message
// only.
func TestTransferPanicIsContained(t *testing.T) {
	tally := &tally{all: 30, name: func(i int) string { return fmt.Sprint("message ", i) }}
	_, err := tally.transferEnd(tally.each(t.Context(), func(i int) (string, outcome) {
		if i%10 == 7 {
			panic("hostile")
		}
		return tally.name(i), outcome{bytes: 1}
	}))
	failed := tally.t.Failed
	if err == nil || tally.t.Messages != 27 || len(failed) != 3 || !strings.HasSuffix(failed[0].File, "7") || !strings.Contains(failed[0].Error, "hostile") {
		t.Errorf("%v, %+v", err, tally.t)
	}
}
