package mailstore

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	namePrefix  = "P3_"
	nameSuffix  = ".eml"
	dottedMark  = "d"
	stampLayout = "20060102150405" // UTC
	stampLen    = len(stampLayout)
	idDigits    = stampLen + 4 + 8
	idLen       = len(namePrefix) + idDigits
	serials     = 100_000_000
	maxSize     = 1 << 50 // no file is larger; sums of more would overflow
)

// Name is the file name of a message, taken apart. It is written
//
//	P3_<yyyyMMddHHmmss><4 digits><8 digits>_<size>.eml
//
// where the time is that of arrival, in UTC, the four digits are drawn at each start of the server, and the
// eight count the messages. A "d" follows the size when some line begins with a dot. Up to the size it is the
// form in which the POP3 service of Windows Server 2003 named its files.
type Name struct {
	// ID is the part before "_<size>". It is never given twice and serves as queue id and as UIDL.
	ID string
	// Size is the length of the file in bytes.
	Size int64
	// Dotted says that some line begins with a dot, so that POP3 must stuff it (RFC 1939, section 3).
	Dotted bool
}

// String returns the file name.
func (n Name) String() string {
	mark := ""
	if n.Dotted {
		mark = dottedMark
	}
	return n.ID + "_" + strconv.FormatInt(n.Size, 10) + mark + nameSuffix
}

// ParseName takes a file name apart. ok is false for every name that String would not have written.
func ParseName(file string) (n Name, ok bool) {
	rest, ok := strings.CutSuffix(file, nameSuffix)
	if !ok || len(rest) < idLen+2 || !isID(rest[:idLen]) || rest[idLen] != '_' {
		return Name{}, false
	}
	digits, dotted := strings.CutSuffix(rest[idLen+1:], dottedMark)
	if !allDigits(digits) || len(digits) > 1 && digits[0] == '0' {
		return Name{}, false
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || size > maxSize {
		return Name{}, false
	}
	return Name{ID: rest[:idLen], Size: size, Dotted: dotted}, true
}

// isID reports whether s has the form of Name.ID.
func isID(s string) bool {
	digits, ok := strings.CutPrefix(s, namePrefix)
	return ok && len(digits) == idDigits && allDigits(digits)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isMessage reports whether a file of this name in a mailbox is a message.
func isMessage(file string) bool {
	stem := len(file) - len(nameSuffix)
	return stem > 0 && file[0] != '.' && strings.EqualFold(file[stem:], nameSuffix)
}

// idSource makes up message ids that are never given twice, whatever the clock does: the time in them does not go
// back while the process lives, and two processes differ in the digits drawn at their start.
type idSource struct {
	now   func() time.Time
	start int // four digits

	mu     sync.Mutex
	stamp  string // of the last id
	serial int
}

func newIDSource(now func() time.Time) *idSource {
	return &idSource{
		now:    now,
		start:  rand.IntN(10_000),
		stamp:  strings.Repeat("0", stampLen),
		serial: rand.IntN(serials / 2), // far from the end, where the order of names would break
	}
}

func (s *idSource) next() string {
	stamp := s.now().UTC().Format(stampLayout)
	s.mu.Lock()
	defer s.mu.Unlock()
	// A clock that says a year beyond 9999 or before 0 would break the form.
	if len(stamp) == stampLen && stamp > s.stamp {
		s.stamp = stamp
	}
	return s.count(s.stamp)
}

// count needs mu held.
func (s *idSource) count(stamp string) string {
	s.serial = (s.serial + 1) % serials
	return fmt.Sprintf("%s%s%04d%08d", namePrefix, stamp, s.start, s.serial)
}
