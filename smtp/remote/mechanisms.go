package remote

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// refusedLogin is a mechanism and the reply that refused it.
type refusedLogin struct {
	mechanism string
	reply     smtp.Reply
}

func (r refusedLogin) String() string { return r.reply.Error() + " (AUTH " + r.mechanism + ")" }

// Mechanisms returns the SASL mechanisms that the client supports with a password.
func Mechanisms() []string { return []string{"PLAIN", "LOGIN", "CRAM-MD5", "NTLM"} }

// loginOrder returns the mechanisms to try, in order: those of the route's setting, or all that the
// client supports, which the server offers. oauthOnly means that there is a token and no password.
// Without TLS the mechanisms that only prove the
// password come first by default, and the others are left out unless clear is true. Mechanisms that
// the server refused lately come last, since each failed login counts against the account.
func loginOrder(
	setting, offered []string, oauthOnly, tls, clear bool, refused []refusedLogin, lately []string,
) []string {
	order := setting
	switch {
	case len(setting) > 0:
	case oauthOnly:
		order = oauth.Mechanisms()
	case tls:
		order = Mechanisms()
	default:
		order = []string{"CRAM-MD5", "NTLM", "PLAIN", "LOGIN"}
	}
	var all []string
	for _, mechanism := range order {
		proof := mechanism == "CRAM-MD5" || mechanism == "NTLM"
		if slices.Contains(offered, mechanism) && (clear || proof) &&
			slices.Contains(oauth.Mechanisms(), mechanism) == oauthOnly &&
			!slices.Contains(refusedNames(refused), mechanism) {
			all = append(all, mechanism)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int {
		return cmp.Compare(slices.Index(lately, a), slices.Index(lately, b))
	})
	return all
}

// loginOver reports whether a reply ends the login, although other mechanisms remain: the server
// is busy (RFC 4954 §6: 454) or closing, or the account is disabled (RFC 5248: X.7.13). 432 asks
// for another mechanism.
func loginOver(r smtp.Reply) bool {
	return r.Code/100 == 4 && r.Code != 432 ||
		r.Enhanced == [3]int{5, 7, 13}
}

func refusedNames(all []refusedLogin) []string {
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, r.mechanism)
	}
	return names
}

// refusalText returns what a server said about each mechanism. Mechanisms with the same text share
// it.
func refusalText(all []refusedLogin) string {
	var texts []string
	for i := 0; i < len(all); i++ {
		names := []string{all[i].mechanism}
		for i+1 < len(all) && all[i+1].reply.Text == all[i].reply.Text {
			i++
			names = append(names, all[i].mechanism)
		}
		texts = append(texts, all[i].reply.Text+" (AUTH "+strings.Join(names, ", ")+")")
	}
	return strings.Join(texts, "; ")
}

// loginKey is a server that a route logs in to.
type loginKey struct {
	route  *route.Route
	server string
}

// loginMemory remembers the mechanisms that servers refused. It is safe for concurrent use.
type loginMemory struct {
	mu    sync.Mutex
	known map[loginKey][]string // the most recently refused is last; guarded by mu
}

// lately returns the mechanisms that a server refused. The caller must not change the result.
func (m *loginMemory) lately(key loginKey) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[key]
}

func (m *loginMemory) refused(key loginKey, mechanism string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setLocked(key, append(without(m.known[key], mechanism), mechanism))
}

func (m *loginMemory) accepted(key loginKey, mechanism string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setLocked(key, without(m.known[key], mechanism))
}

func (m *loginMemory) setLocked(key loginKey, mechanisms []string) {
	switch {
	case len(mechanisms) == 0:
		delete(m.known, key)
	case m.known == nil:
		m.known = map[loginKey][]string{key: mechanisms}
	default:
		m.known[key] = mechanisms
	}
}

// without returns a copy of the list without one mechanism.
func without(list []string, mechanism string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(m string) bool { return m == mechanism })
}
