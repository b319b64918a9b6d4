package dialogue

import (
	"slices"
	"strings"
)

// mechanisms are the names of login mechanisms that may be shown. Any other word after AUTH may be a
// password that a program sends in the wrong place.
var mechanisms = []string{
	"ANONYMOUS", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "GSSAPI", "LOGIN", "NTLM", "OAUTHBEARER",
	"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2",
}

// Auth shows an AUTH command with its argument: the mechanism, and not the response.
func Auth(arg string) Shown {
	word, rest, _ := strings.Cut(arg, " ")
	word = strings.ToUpper(word)
	switch {
	case arg == "":
		return Shown{Verb: "AUTH"}
	case !slices.Contains(mechanisms, word):
		return Shown{Verb: "AUTH", Note: Hidden}
	case rest != "":
		return Shown{Verb: "AUTH", Arg: word, Note: Hidden}
	}
	return Shown{Verb: "AUTH", Arg: word}
}

// Unknown shows a line that is no command. It may be a password, or text of a message.
func Unknown() Shown { return Shown{Note: "[no command, hidden]"} }

// WithoutArg shows a command whose argument is not shown.
func WithoutArg(verb, arg string) Shown {
	if arg == "" {
		return Shown{Verb: verb}
	}
	return Shown{Verb: verb, Note: Hidden}
}
