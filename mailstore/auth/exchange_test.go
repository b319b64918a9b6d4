package auth

import (
	"errors"
	"fmt"
	"testing"

	"github.com/emersion/go-sasl"
)

// judge is a check that compares proofs with the secrets of one user, and records its calls.
type judge struct {
	user    string
	secrets *Secrets // nil: the user is unknown
	asked   []string
	had     bool
	yes     bool
	refused bool // there was no proof
}

func (j *judge) check(user string, p proof) error {
	j.asked = append(j.asked, user)
	var secrets *Secrets
	if user == j.user {
		secrets = j.secrets
	}
	if p == nil {
		j.refused = true
	} else if j.had, j.yes = p(secrets); j.yes {
		return nil
	}
	return ErrInvalid
}

// talk sends responses to a server; nil means no initial response. It returns the last challenge
// and the result.
func talk(s sasl.Server, responses ...[]byte) (challenge []byte, done bool, err error) {
	for _, r := range responses {
		if challenge, done, err = s.Next(r); err != nil {
			break
		}
	}
	return challenge, done, err
}

func mustBeOver(t *testing.T, s sasl.Server) {
	t.Helper()
	for _, r := range [][]byte{nil, {}, []byte("more")} {
		if challenge, done, err := s.Next(r); !errors.Is(err, ErrMalformed) || done || challenge != nil {
			t.Errorf("after the end: %q %v %v", challenge, done, err)
		}
	}
}

// fuzzed is a mechanism and its judge.
func fuzzed(kind byte, j *judge) sasl.Server {
	switch kind % 6 {
	case 0:
		return newNTLM(ntlmConfig{Hostname: "mail.office.example", Domain: "office.example", V1: true}, j.check)
	case 1:
		return newCRAMMD5("<1896.697170952@postoffice.reston.mci.net>", j.check)
	case 2:
		return newSCRAMWithNonce(nil, false, "nonce", scramKeys(j), j.check)
	case 3:
		return newSCRAMWithNonce(&scramBinding{exporter: []byte("data")}, true, "nonce", scramKeys(j), j.check)
	case 4:
		return newSCRAMWithNonce(&scramBinding{exporter: []byte("data")}, false, "nonce", scramKeys(j), j.check)
	}
	return newEXTERNAL(func(authzid string) error {
		return j.check(authzid, func(s *Secrets) (bool, bool) { return s != nil, s != nil })
	})
}

func scramKeys(j *judge) func(string) SCRAM {
	return func(user string) SCRAM {
		if j.secrets != nil && user == j.user {
			return *j.secrets.SCRAM
		}
		return SCRAM{Salt: []byte("0123456789abcdef"), Iterations: 10_000}
	}
}

// Whatever a client sends: success comes only after a right proof, and only once.
func FuzzExchanges(f *testing.F) {
	negotiate := "NTLMSSP\x00\x01\x00\x00\x00\x07\x82\x08\xa2"
	f.Add(byte(0), []byte(negotiate), []byte("NTLMSSP\x00\x03\x00\x00\x00"), []byte(nil))
	f.Add(byte(1), []byte("tim b913a602c7eda7a495b4e6e7334d3890"), []byte{}, []byte{})
	f.Add(byte(2), []byte("n,,n=tim,r=abc"), []byte("c=biws,r=abcnonce,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), []byte{})
	f.Add(byte(3), []byte("p=tls-exporter,,n=tim,r=abc"), []byte("c=cD10bHMtZXhwb3J0ZXIsLGRhdGE=,r=abcnonce,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), []byte{})
	f.Add(byte(4), []byte("y,,n=tim,r=abc"), []byte{}, []byte{})
	f.Add(byte(5), []byte("tim"), []byte{}, []byte{})
	secrets := secretsOf("tanstaaftanstaaf")
	f.Fuzz(func(t *testing.T, kind byte, a, b, c []byte) {
		j := &judge{user: "tim", secrets: secrets}
		s := fuzzed(kind, j)
		initial := [][]byte{nil, a, b, c}
		if kind&0x80 != 0 {
			initial = initial[1:] // an initial response
		}
		over := false
		for _, r := range initial {
			challenge, done, err := s.Next(r)
			switch {
			case over && (!errors.Is(err, ErrMalformed) || done || challenge != nil):
				t.Fatalf("after the end: %q %v %v", challenge, done, err)
			case done && (err != nil || !j.yes || challenge != nil):
				t.Fatalf("success without a right proof, or half: %q %v", challenge, err)
			case err == nil && !done && challenge == nil, err != nil && challenge != nil:
				t.Fatalf("challenge %q with error %v", challenge, err)
			case len(challenge) > maxSCRAM+256:
				t.Fatalf("a challenge of %d octets", len(challenge))
			}
			over = over || done || err != nil
		}
		if len(j.asked) > 1 {
			t.Fatalf("asked %q", j.asked)
		}
	})
}

func TestEXTERNAL(t *testing.T) {
	for name, tt := range map[string]struct {
		responses [][]byte
		want      string
	}{
		"asked":          {[][]byte{nil, []byte("anna@office.example")}, `done "anna@office.example"`},
		"initial":        {[][]byte{[]byte("anna@office.example")}, `done "anna@office.example"`},
		"asked, empty":   {[][]byte{nil, {}}, `done ""`},
		"initial, empty": {[][]byte{{}}, `done ""`},
		"refused":        {[][]byte{[]byte("boss")}, "invalid"},
		"NUL":            {[][]byte{[]byte("a\x00b")}, "malformed"},
		"no UTF-8":       {[][]byte{[]byte("\xff")}, "malformed"},
		"long":           {[][]byte{make([]byte, maxResponse+1)}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			s := newEXTERNAL(func(authzid string) error {
				if authzid == "boss" {
					return ErrInvalid
				}
				got = fmt.Sprintf("done %q", authzid)
				return nil
			})
			_, done, err := talk(s, tt.responses...)
			switch {
			case errors.Is(err, ErrMalformed):
				got += "malformed"
			case errors.Is(err, ErrInvalid):
				got += "invalid"
			case !done:
				got = "not done"
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			mustBeOver(t, s)
		})
	}
}
