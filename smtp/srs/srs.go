// Package srs rewrites the envelope sender of mail that is forwarded to another server (SRS, the
// Sender Rewriting Scheme), so that SPF at that server finds our domain.
//
// A rewritten sender is an address here, such as SRS0=HASH=DAY=partner.example=carl@office.example.
// Keys.Forward makes it. A report that comes back to it goes to the first sender: Keys.Reverse
// returns that one. The hash proves that this server made the address, so no other program can use this
// server as a relay. If the sender was rewritten by another server before, the result is an SRS1
// address, which leads straight back to the first of these servers.
//
// Mail servers on the way may change the case of a local part, so hash and day do not depend on it.
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
)

const (
	maxAge     = 21  // days that a rewritten sender is good for; no queue retries longer
	maxPath    = 254 // octets of an address (RFC 5321 §4.5.3.1.3)
	hashLength = 8   // characters; 40 bits
	dayCycle   = 1024
	day        = 24 * time.Hour
)

// The classes of errors of Reverse.
var (
	ErrForged  = errors.New("the address was not made by this server")
	ErrExpired = errors.New("the address is too old")
)

// ErrTooLong means that a sender is too long to be rewritten.
var ErrTooLong = errors.New("the rewritten address would be too long")

// Is reports whether a local part has the form of a rewritten sender.
func Is(local string) bool {
	_, _, ok := cut(local)
	return ok
}

// cut splits a local part into its kind, "SRS0" or "SRS1", and the rest with its separator.
func cut(local string) (kind, rest string, ok bool) {
	if len(local) < 5 || !strings.ContainsRune("=-+", rune(local[4])) {
		return "", "", false
	}
	switch kind = strings.ToUpper(local[:4]); kind {
	case "SRS0", "SRS1":
		return kind, local[4:], true
	}
	return "", "", false
}

var encoding = base32.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").WithPadding(base32.NoPadding)

// hash returns the proof for an address of a kind. The case of body does not matter.
func hash(key []byte, kind, body string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(kind + "=" + addr.FoldName(body)))
	return encoding.EncodeToString(mac.Sum(nil))[:hashLength]
}

// forward rewrites a sender into an address of a domain here.
func forward(key []byte, from addr.Address, domain addr.Domain, now time.Time) (addr.Address, error) {
	to := addr.Address{Domain: domain}
	switch kind, rest, _ := cut(from.Local); kind {
	case "SRS0": // rest keeps its separator, which only its server understands
		body := string(from.Domain) + "=" + rest
		to.Local = "SRS1=" + hash(key, "SRS1", body) + "=" + body
	case "SRS1": // the first server stays, the hash of the last one is replaced
		_, body, ok := strings.Cut(rest[1:], "=")
		if !ok {
			body = rest[1:]
		}
		to.Local = "SRS1=" + hash(key, "SRS1", body) + "=" + body
	default:
		body := dayText(now) + "=" + string(from.Domain) + "=" + from.Local
		to.Local = "SRS0=" + hash(key, "SRS0", body) + "=" + body
	}
	if len(to.String()) > maxPath {
		return addr.Address{}, ErrTooLong
	}
	return to, nil
}

// reverse returns the sender that an address was made for.
func reverse(keys [][]byte, to addr.Address, now time.Time) (addr.Address, error) {
	kind, rest, ok := cut(to.Local)
	if !ok || rest[0] != '=' {
		return addr.Address{}, ErrForged
	}
	proof, body, ok := strings.Cut(rest[1:], "=")
	if !ok || !proven(keys, kind, strings.ToUpper(proof), body) {
		return addr.Address{}, ErrForged
	}
	if kind == "SRS1" {
		first, inner, ok := strings.Cut(body, "=")
		if !ok {
			return addr.Address{}, ErrForged
		}
		return original("SRS0"+inner, first)
	}
	made, body, _ := strings.Cut(body, "=")
	if !fresh(made, now) {
		return addr.Address{}, ErrExpired
	}
	domain, local, _ := strings.Cut(body, "=")
	return original(local, domain)
}

// original is the address of an earlier server or sender. It passed a hash, but an error would be a
// bug of an older release, not of the caller.
func original(local, domain string) (addr.Address, error) {
	d, err := addr.ParseDomain(domain)
	if err != nil || local == "" {
		return addr.Address{}, ErrForged
	}
	return addr.Address{Local: local, Domain: d}, nil
}

func proven(keys [][]byte, kind, proof, body string) bool {
	found := false
	for _, key := range keys {
		if hmac.Equal([]byte(hash(key, kind, body)), []byte(proof)) {
			found = true
		}
	}
	return found
}

// dayText returns the day in two characters, which repeat after 1024 days.
func dayText(now time.Time) string {
	n := dayNumber(now)
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	return string([]byte{digits[n/32], digits[n%32]})
}

func dayNumber(now time.Time) int { return int(now.Unix()/int64(day/time.Second)) % dayCycle }

// fresh reports whether a day is at most maxAge ago. A clock that was ahead by a day is no harm.
func fresh(text string, now time.Time) bool {
	text = strings.ToUpper(text)
	for age := -1; age <= maxAge; age++ {
		if dayText(now.Add(-time.Duration(age)*day)) == text {
			return true
		}
	}
	return false
}
