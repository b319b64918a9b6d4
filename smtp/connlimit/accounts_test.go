package connlimit

import (
	"log/slog"
	"testing"
)

func TestAccounts(t *testing.T) {
	a := NewAccounts(2, slog.New(slog.DiscardHandler))
	for i, step := range []struct {
		name string
		want bool
	}{{"anna", true}, {"anna", true}, {"anna", false}, {"boss", true}} {
		if got := a.Enter(step.name); got != step.want {
			t.Errorf("step %d: %s = %v", i, step.name, got)
		}
	}
	a.Leave("anna")
	if !a.Enter("anna") || a.Enter("anna") {
		t.Error("after one left, not exactly one may enter")
	}
	a.SetLimit(0)
	if !a.Enter("anna") {
		t.Error("a limit where there is none")
	}
	a.SetLimit(1)
	for range 3 {
		a.Leave("anna")
	}
	a.Leave("boss")
	if len(a.sessions) != 0 {
		t.Errorf("left over: %v", a.sessions)
	}
	if !a.Enter("anna") || a.Enter("anna") {
		t.Error("the limit of one does not hold")
	}
}
