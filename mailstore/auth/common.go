package auth

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// IsCommon reports whether a password, in small letters, is one of the first that are tried: a word
// that heads every list of stolen ones, with or without the digits and signs that
// people put behind it, or a run of one character or of the keyboard.
func IsCommon(lower string) bool {
	for _, run := range []string{"abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "0123456789012345678901234567890", "9876543210987654321098765432109876543210", "1q2w3e4r5t6z7u8i9o0p", "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm"} {
		if strings.Contains(run, lower) {
			return true
		}
	}
	first, size := utf8.DecodeRuneInString(lower)
	if strings.Trim(lower[size:], string(first)) == "" {
		return true
	}
	word := strings.TrimRight(strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "@", "a", "$", "s", "5", "s").Replace(strings.TrimRight(lower, "0123456789!?.#*-_")), "!?.#*-_")
	return slices.Contains(strings.Fields(`password passwort passwd pass kennwort geheim secret admin administrator root user test guest
		welcome willkommen letmein iloveyou princess monkey dragon master sunshine shadow football baseball superman batman
		trustno qwerty qwertz hallo hello login changeme default office mail pillarbox summer winter spring autumn sommer`), word)
}
