package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"pillarbox/mailstore/auth/ntlm"
)

// ntlmConfig says how the server takes part in NTLM.
type ntlmConfig struct {
	Hostname string // of the server, in DNS
	Domain   string // the default mail domain; "" is none
	V1       bool   // accept NTLMv1 and its NTLM2 session form, which the clients on libntlm send
}

// errNTLMv1 is why a nil proof fails, for the log.
var errNTLMv1 = errors.New("the mail program answers with the first version of NTLM, which auth.ntlm_v1 does not allow")

// newNTLM is the server side of one NTLM exchange ([MS-NLMP], in SASL form as
// [MS-SMTPNTLM] and [MS-POP3] have it). It calls check once, with nil for the
// proof if the client answers in a version that is not allowed, and returns its
// error as it is. The user is `DOMAIN\user` when the client gives a domain and the
// user has no @ and no backslash, else the user alone. A challenge without an
// initial response is empty here: the protocols have words of their own for it.
// Messages are of 8 KiB at most.
func newNTLM(cfg ntlmConfig, check func(user string, p proof) error) sasl.Server {
	server := ntlm.Server{Target: ntlmTarget(cfg), Time: time.Now()}
	rand.Read(server.Nonce[:])
	return &exchange{greeting: []byte{}, limit: ntlm.MaxMessage, steps: []step{
		func(negotiate []byte) ([]byte, error) {
			challenge, err := server.Challenge(negotiate)
			return challenge, malformed(err)
		},
		func(authenticate []byte) ([]byte, error) {
			r, err := server.Authenticate(authenticate)
			if err != nil {
				return nil, malformed(err)
			}
			return nil, checkNTLM(cfg, r, check)
		},
	}}
}

func checkNTLM(cfg ntlmConfig, r *ntlm.Response, check func(user string, p proof) error) error {
	user := r.User
	if r.Domain != "" && !strings.ContainsAny(user, `@\`) { // the clients on libntlm leave a domain in the name
		user = r.Domain + `\` + user
	}
	if user == "" || r.Version != ntlm.V2 && !cfg.V1 {
		return check(user, nil) // anonymous, or too old
	}
	return check(user, func(s *Secrets) (had, right bool) {
		if s == nil || len(s.NT) == 0 {
			return false, false
		}
		return true, r.Matches(s.NT)
	})
}

// ntlmTarget gives the server the names that a Windows server would have.
func ntlmTarget(cfg ntlmConfig) ntlm.Target {
	return ntlm.Target{
		NetBIOSDomain:   netBIOS(cfg.Domain),
		NetBIOSComputer: netBIOS(cfg.Hostname),
		DNSDomain:       cfg.Domain,
		DNSComputer:     cfg.Hostname,
	}
}

// netBIOS is the short name that Windows makes of a DNS name by itself: its
// first label, in upper case, and no longer than 15 characters.
func netBIOS(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return strings.ToUpper(label[:min(len(label), 15)])
}

// malformed makes the errors of parsers ErrMalformed.
func malformed(err error) error {
	if err == nil || errors.Is(err, ErrMalformed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
