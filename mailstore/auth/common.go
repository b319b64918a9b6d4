package auth

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// IsCommon reports whether a password, in lower case, is one that attackers try first. That is a
// word from the top of every list of stolen passwords, with or without digits and signs appended, a
// single repeated character, or a run of letters, digits or keys.
func IsCommon(lower string) bool {
	for _, run := range commonRuns() {
		if strings.Contains(run, lower) {
			return true
		}
	}
	first, size := utf8.DecodeRuneInString(lower)
	if strings.Trim(lower[size:], string(first)) == "" {
		return true
	}
	letters := strings.NewReplacer(
		"0", "o", "1", "i", "3", "e", "4", "a", "@", "a", "$", "s", "5", "s")
	word := letters.Replace(strings.TrimRight(lower, "0123456789!?.#*-_"))
	return slices.Contains(commonWords(), strings.TrimRight(word, "!?.#*-_"))
}

// commonRuns are the alphabet, the rows of English and German keyboards, the digits in both
// directions, and zigzags over a keyboard.
func commonRuns() []string {
	return []string{
		"abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm",
		"0123456789012345678901234567890", "9876543210987654321098765432109876543210",
		"1q2w3e4r5t6z7u8i9o0p", "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
	}
}

func commonWords() []string {
	return strings.Fields(`password passwort passwd pass kennwort geheim secret admin
		administrator root user test guest welcome willkommen letmein iloveyou princess monkey
		dragon master sunshine shadow football baseball superman batman trustno qwerty qwertz
		hallo hello login changeme default office mail pillarbox summer winter spring autumn
		sommer`)
}
