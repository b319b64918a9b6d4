package oauth

import (
	"encoding/json"
	"strconv"
	"strings"

	"pillarbox/mailstore/foreign"
)

// Mechanisms are the SASL mechanisms that carry a token, in the order to try them. Microsoft has
// only the first.
func Mechanisms() []string { return []string{"XOAUTH2", "OAUTHBEARER"} }

// Response returns the client's only message of a mechanism: XOAUTH2 as Google and Microsoft
// document it, or OAUTHBEARER (RFC 7628 §3.1).
func Response(mechanism, user, host string, port int, token string) []byte {
	if mechanism == "XOAUTH2" {
		return []byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01")
	}
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
	text := "n,a=" + name + ",\x01host=" + host
	if port != 0 {
		text += "\x01port=" + strconv.Itoa(port)
	}
	return []byte(text + "\x01auth=Bearer " + token + "\x01\x01")
}

// Abort returns the client's message after the server's error challenge, which ends the exchange:
// nothing for XOAUTH2, and a single ^A for OAUTHBEARER (RFC 7628 §3.2.3).
func Abort(mechanism string) []byte {
	if mechanism == "XOAUTH2" {
		return nil
	}
	return []byte{1}
}

// Refusal returns what a server's error challenge says, in words, or "" for one of another form.
// It is a JSON object with a status and perhaps the required scope (RFC 7628 §3.2.2).
func Refusal(challenge []byte) string {
	var said struct{ Status, Scope string }
	if err := json.Unmarshal(challenge, &said); err != nil || said.Status == "" {
		return ""
	}
	text := "status " + said.Status
	if said.Scope != "" {
		text += ", scope " + said.Scope
	}
	return foreign.Printable(text, 100)
}
