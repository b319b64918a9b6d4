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
	maxSize     = 1 << 50 // no file is larger, and sums cannot overflow
)

// Name is the parsed file name of a message:
//
//	P3_<yyyyMMddHHmmss><4 digits><8 digits>_<size>.eml
//
// The time is that of arrival, in UTC. The four digits are random, drawn at each start of the
// server. The eight digits count the messages. A "d" after the size means that some line begins
// with a dot. The part before the size has the form that the POP3 service of Windows Server 2003
// used.
type Name struct {
	// ID is the part before "_<size>". It is unique and never reused. It is also the queue id and
	// the unique-id (UIDL).
	ID string
	// Size is the length of the file in bytes.
	Size int64
	// Dotted means that some line begins with a dot, so that POP3 must byte-stuff it (RFC 1939,
	// section 3).
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

// ParseName parses a file name. ok is false for every name that String does not return.
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

// idSource makes message ids that are unique even if the clock is set back. The time in them never
// goes back while the process lives, and the digits drawn at the start distinguish two processes.
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
		serial: rand.IntN(serials / 2), // not near a wrap, which breaks the order
	}
}

func (s *idSource) next() string {
	stamp := s.now().UTC().Format(stampLayout)
	s.mu.Lock()
	defer s.mu.Unlock()
	// A year above 9999 or below 0 does not fit into an id.
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
