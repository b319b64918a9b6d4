package quota

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units are the units of sizes, in each system from the largest to the smallest.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// maxDecimals is the greatest number of digits after the point.
const maxDecimals = 6

// SizeError says why a text is not a size.
type SizeError struct {
	Text string
	Why  string
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%q is not a size: %s; write it like 25MiB, 100MB or 0", e.Text, e.Why)
}

// ParseSize parses a size: a number, optionally with up to six decimals, and a unit. KB, MB, GB and
// TB are powers of 1,000; KiB, MiB, GiB and TiB are powers of 1,024; B or no unit means bytes. Case
// does not matter, and a blank may separate number and unit. The result is in bytes, rounded down.
// The error is a *SizeError.
func ParseSize(text string) (int64, error) {
	number, factor := strings.TrimSpace(text), int64(1)
	for _, u := range units {
		at := len(number) - len(u.name)
		if at >= 0 && strings.EqualFold(number[at:], u.name) {
			number, factor = strings.TrimRight(number[:at], " "), u.bytes
			break
		}
	}
	whole, fraction, point := strings.Cut(number, ".")
	switch {
	case strings.HasPrefix(number, "-"):
		return 0, &SizeError{text, "it must not be negative"}
	case number == "":
		return 0, &SizeError{text, "the number is missing"}
	case !digits(whole) || point && !digits(fraction):
		return 0, &SizeError{text, "that is neither a number nor a unit"}
	case point && factor == 1:
		return 0, &SizeError{text, "there are no parts of a byte"}
	case len(fraction) > maxDecimals:
		return 0, &SizeError{text, "it has too many decimals"}
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return 0, &SizeError{text, "it is too large"}
	}
	part := fractionOf(fraction, factor)
	if n*factor > math.MaxInt64-part {
		return 0, &SizeError{text, "it is too large"}
	}
	return n*factor + part, nil
}

// fractionOf returns 0.<digits> of factor, rounded down. It cannot overflow with at most
// maxDecimals digits.
func fractionOf(digits string, factor int64) int64 {
	var part, whole int64 = 0, 1
	for _, d := range digits {
		part, whole = part*10+int64(d-'0'), whole*10
	}
	return part * factor / whole
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// FormatSize writes a size exactly, in the largest unit that allows it: "25MiB", "100MB", "1234B",
// "0". ParseSize returns the same size for it.
func FormatSize(bytes int64) string {
	if bytes == 0 {
		return "0"
	}
	best := units[len(units)-1]
	for _, u := range units {
		if bytes%u.bytes == 0 && u.bytes > best.bytes {
			best = u
		}
	}
	return strconv.FormatInt(bytes/best.bytes, 10) + best.name
}

// FormatMessages writes a number of messages: "1 message", "5 messages".
func FormatMessages(n int64) string {
	if n == 1 {
		return "1 message"
	}
	return strconv.FormatInt(n, 10) + " messages"
}

// Approximate writes a size with one decimal: "117.7 MiB", "25 B". It uses powers of 1,000 if the
// size like, with which it is compared, is written in them ("500MB"), else powers of 1,024.
func Approximate(bytes, like int64) string {
	base, suffix := 1024.0, "iB"
	switch unit := strings.Trim(FormatSize(like), "0123456789"); unit {
	case "KB", "MB", "GB", "TB":
		base, suffix = 1000, "B"
	}
	if float64(bytes) < base {
		return strconv.FormatInt(bytes, 10) + " B"
	}
	size, unit := float64(bytes)/base, 0
	for size >= base-0.05 && unit < 3 {
		size, unit = size/base, unit+1
	}
	return fmt.Sprintf("%.1f %c%s", size, "KMGT"[unit], suffix)
}
