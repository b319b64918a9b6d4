package quota

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64
	}{
		{"0", 0},
		{"0MB", 0},
		{"1", 1},
		{"1234B", 1234},
		{"25MiB", 25 << 20},
		{"100MB", 100_000_000},
		{"1GiB", 1 << 30},
		{"2TB", 2_000_000_000_000},
		{"3kib", 3 << 10},
		{" 10 mb ", 10_000_000},
		{"0.5GiB", 1 << 29},
		{"1.5KB", 1500},
		{"0.3MB", 300_000},
		{"0.0001KB", 0},
		{"9223372036854775807", math.MaxInt64},
	}
	for _, tt := range tests {
		if got, err := ParseSize(tt.text); got != tt.want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}

func TestParseSizeErrors(t *testing.T) {
	tests := []struct{ text, why string }{
		{"", "number is missing"},
		{"MB", "number is missing"},
		{"-1MB", "negative"},
		{"ten", "neither a number nor a unit"},
		{"10XB", "neither a number nor a unit"},
		{"1e3", "neither a number nor a unit"},
		{"1,5MB", "neither a number nor a unit"},
		{"1..5MB", "neither a number nor a unit"},
		{".5MB", "neither a number nor a unit"},
		{"5.MB", "neither a number nor a unit"},
		{"0x10", "neither a number nor a unit"},
		{"1.5", "parts of a byte"},
		{"1.1234567MB", "too many decimals"},
		{"9223372036854775808", "too large"},
		{"10000000TB", "too large"},
		{"8388607.999999TiB", ""},
		{"8388608TiB", "too large"},
	}
	for _, tt := range tests {
		_, err := ParseSize(tt.text)
		if tt.why == "" {
			if err != nil {
				t.Errorf("ParseSize(%q): %v", tt.text, err)
			}
			continue
		}
		sizeErr, ok := errors.AsType[*SizeError](err)
		if !ok || !strings.Contains(sizeErr.Why, tt.why) {
			t.Errorf("ParseSize(%q): error %v, want one about %q", tt.text, err, tt.why)
		}
	}
}

func TestFormatSize(t *testing.T) {
	tests := []struct {
		bytes int64
		want  string
	}{
		{0, "0"}, {1, "1B"}, {999, "999B"}, {1000, "1KB"}, {1024, "1KiB"}, {25 << 20, "25MiB"},
		{100_000_000, "100MB"}, {1 << 40, "1TiB"}, {1 << 50, "1024TiB"}, {math.MaxInt64, "9223372036854775807B"},
	}
	for _, tt := range tests {
		if got := FormatSize(tt.bytes); got != tt.want {
			t.Errorf("FormatSize(%d) = %q, want %q", tt.bytes, got, tt.want)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "25MiB", "1.5GB", "9223372036854775807", "8388607.999999TiB", "-1", "1 k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("ParseSize(%q) = %d", text, n)
		}
		if again, err := ParseSize(FormatSize(n)); again != n || err != nil {
			t.Fatalf("%q is %d bytes, written %q, read back %d, %v", text, n, FormatSize(n), again, err)
		}
	})
}

func TestApproximate(t *testing.T) {
	for _, tt := range []struct {
		bytes, like int64
		want        string
	}{
		{0, 0, "0 B"}, {1023, 0, "1023 B"}, {1024, 0, "1.0 KiB"}, {123_456_789, 0, "117.7 MiB"}, {1<<20 - 1, 0, "1.0 MiB"},
		{1 << 60, 0, "1048576.0 TiB"},
		{123_456_789, 500_000_000, "123.5 MB"}, {999, 1000, "999 B"}, {999_999, 1000, "1.0 MB"},
		{123_456_789, 500 << 20, "117.7 MiB"}, {123_456_789, 123_456_789, "117.7 MiB"},
	} {
		if got := Approximate(tt.bytes, tt.like); got != tt.want {
			t.Errorf("Approximate(%d, %d) = %q, want %q", tt.bytes, tt.like, got, tt.want)
		}
	}
}
