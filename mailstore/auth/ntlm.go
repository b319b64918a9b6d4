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

// ntlmConfig configures the server side of NTLM.
type ntlmConfig struct {
	Hostname string // DNS name of the server
	Domain   string // the default mail domain; "" means none
	V1       bool   // accept NTLMv1 and its NTLM2 session form, which clients built on libntlm send
}

// errNTLMv1 is the reason to log when the proof is nil.
var errNTLMv1 = errors.New("the mail program answers with the first version of NTLM, which auth.ntlm_v1 does not allow")

// newNTLM is the server side of one NTLM exchange ([MS-NLMP], in the SASL form of [MS-SMTPNTLM] and
// [MS-POP3]). It calls check once and returns its error unchanged. The proof is nil if the client
// answers in a version that is not allowed.
//
// The user is `DOMAIN\user` if the client sends a domain and the user name has neither @ nor
// backslash; otherwise it is the user name alone. Without an initial response the challenge is
// empty: SMTP and POP3 send a text of their own instead. Messages have at most 8 KiB.
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
	// Clients built on libntlm send the domain inside the user name.
	if r.Domain != "" && !strings.ContainsAny(user, `@\`) {
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

// ntlmTarget returns the names that a Windows server would send.
func ntlmTarget(cfg ntlmConfig) ntlm.Target {
	return ntlm.Target{
		NetBIOSDomain:   netBIOS(cfg.Domain),
		NetBIOSComputer: netBIOS(cfg.Hostname),
		DNSDomain:       cfg.Domain,
		DNSComputer:     cfg.Hostname,
	}
}

// netBIOS is the short name that Windows derives from a DNS name: the first label in upper case, at
// most 15 characters.
func netBIOS(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return strings.ToUpper(label[:min(len(label), 15)])
}

// malformed wraps a parser's error in ErrMalformed.
func malformed(err error) error {
	if err == nil || errors.Is(err, ErrMalformed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
