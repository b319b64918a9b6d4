package mailstore

import (
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

const someID = "P3_20260724090047026500000003"

func TestParseName(t *testing.T) {
	tests := []struct {
		file string
		want Name
		ok   bool
	}{
		{someID + "_4096.eml", Name{someID, 4096, false}, true},
		{someID + "_4096d.eml", Name{someID, 4096, true}, true},
		{someID + "_0.eml", Name{someID, 0, false}, true},
		{someID + "_1125899906842624.eml", Name{someID, 1 << 50, false}, true},
		{someID + "_1125899906842625.eml", Name{}, false},
		{someID + "_9223372036854775807.eml", Name{}, false},
		{someID + "_9223372036854775808.eml", Name{}, false},
		{someID + ".eml", Name{}, false}, // as the Windows service wrote it
		{someID + "_.eml", Name{}, false},
		{someID + "_d.eml", Name{}, false},
		{someID + "_007.eml", Name{}, false},
		{someID + "_-1.eml", Name{}, false},
		{someID + "_+1.eml", Name{}, false},
		{someID + "_1dd.eml", Name{}, false},
		{someID + "_1D.eml", Name{}, false},
		{someID + "_1.EML", Name{}, false},
		{someID + "_1.eml.tmp", Name{}, false},
		{someID + "1_1.eml", Name{}, false},
		{strings.Replace(someID, "P3", "p3", 1) + "_1.eml", Name{}, false},
		{strings.Replace(someID, "3", "x", 2) + "_1.eml", Name{}, false},
		{"P347865.eml", Name{}, false},
		{"_1.eml", Name{}, false},
		{"", Name{}, false},
	}
	for _, tt := range tests {
		if got, ok := ParseName(tt.file); got != tt.want || ok != tt.ok {
			t.Errorf("ParseName(%q) = %+v, %v; want %+v, %v", tt.file, got, ok, tt.want, tt.ok)
		}
	}
}

// FuzzParseName checks that ParseName and String are inverse.
func FuzzParseName(f *testing.F) {
	f.Add(someID+"_4096d.eml", int64(7), true)
	f.Add(someID+"_00.eml", int64(math.MaxInt64), false)
	f.Fuzz(func(t *testing.T, file string, size int64, dotted bool) {
		if n, ok := ParseName(file); ok && n.String() != file {
			t.Fatalf("%q is taken for %+v, which is %q", file, n, n)
		}
		if size < 0 || size > maxSize {
			return
		}
		n := Name{ID: someID, Size: size, Dotted: dotted}
		if got, ok := ParseName(n.String()); !ok || got != n {
			t.Fatalf("%+v is written %q, read as %+v, %v", n, n, got, ok)
		}
	})
}

func TestIsMessage(t *testing.T) {
	for file, want := range map[string]bool{
		"P347865.eml": true, "a.EML": true, "x.Eml": true, someID + "_1.eml": true,
		".eml": false, "eml": false, "": false, "a.eml.tmp": false, "account.json": false, ".a.eml": false,
	} {
		if got := isMessage(file); got != want {
			t.Errorf("isMessage(%q) = %v", file, got)
		}
	}
}

func TestIDsAreUniqueAndDoNotGoBack(t *testing.T) {
	start := time.Date(2026, 7, 24, 9, 0, 47, 0, time.FixedZone("", 7200))
	clock := []time.Time{
		start, start.Add(24 * time.Hour), start.Add(-24 * time.Hour), start,
		start.AddDate(9000, 0, 0), start.AddDate(-4000, 0, 0), {}, start.Add(25 * time.Hour),
	}
	i := 0
	ids := newIDSource(func() time.Time { i++; return clock[i-1] })
	last := ""
	for n := range clock {
		id := ids.next()
		if !isID(id) {
			t.Errorf("%s has not the form of an id", id)
		}
		stamp := id[len(namePrefix):][:stampLen]
		if stamp < last {
			t.Errorf("id %d is of %s, the one before of %s", n, stamp, last)
		}
		last = stamp
	}
	if last != "20260725080047" {
		t.Errorf("the last id is of %s", last)
	}
}

func TestIDsUnderConcurrency(t *testing.T) {
	now := time.Now()
	ids := newIDSource(func() time.Time { return now })
	ids.serial = serials - 500 // the serial wraps meanwhile
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				id := ids.next()
				mu.Lock()
				if seen[id] {
					t.Errorf("%s was given twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
