package auth

import (
	"errors"
	"testing"
	"time"

	"pillarbox/mailstore/auth/ntlm"
)

var ntlmOffice = ntlmConfig{Hostname: "mail.office.example", Domain: "office.example"}

func TestNTLM(t *testing.T) {
	for name, tt := range map[string]struct {
		user, domain, password string
		secrets                *Secrets
		want                   error
		asked                  string
	}{
		"bare name":      {"anna", "", "secret", secretsOf("secret"), nil, "anna"},
		"address":        {"anna@office.example", "", "secret", secretsOf("secret"), nil, "anna@office.example"},
		"with a domain":  {"anna", "OFFICE", "secret", secretsOf("secret"), nil, `OFFICE\anna`},
		"domain in both": {`PC-7\anna`, "OFFICE", "secret", secretsOf("secret"), nil, `PC-7\anna`},
		"both":           {"anna@office.example", "PC-7", "secret", secretsOf("secret"), nil, "anna@office.example"},
		"wrong password": {"anna", "", "Secret", secretsOf("secret"), ErrInvalid, "anna"},
		"no such secret": {"anna", "", "secret", &Secrets{SCRAM: newSCRAM("secret")}, ErrInvalid, "anna"},
		"unknown":        {"anna", "", "secret", nil, ErrInvalid, "anna"},
		"anonymous":      {"", "", "secret", secretsOf("secret"), ErrInvalid, ""},
		"characters":     {"jürgen", "Büro", "Grüße", secretsOf("Grüße"), nil, `Büro\jürgen`},
	} {
		for _, initial := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				j := &judge{user: tt.asked, secrets: tt.secrets}
				s := newNTLM(ntlmOffice, j.check)
				if !initial {
					if c, done, err := s.Next(nil); c == nil || len(c) != 0 || done || err != nil {
						t.Fatalf("%q %v %v", c, done, err)
					}
				}
				client := ntlm.Client{User: tt.user, Domain: tt.domain, Password: tt.password, Time: time.Now()}
				challenge, done, err := s.Next(client.Negotiate())
				if done || err != nil {
					t.Fatal(done, err)
				}
				answer, err := client.Authenticate(challenge)
				if err != nil {
					t.Fatal(err)
				}
				_, done, err = s.Next(answer)
				if !errors.Is(err, tt.want) || done != (tt.want == nil) {
					t.Errorf("%v %v", done, err)
				}
				if tt.asked != "" && (len(j.asked) != 1 || j.asked[0] != tt.asked) {
					t.Errorf("asked %q", j.asked)
				}
				mustBeOver(t, s)
			})
		}
	}
}

// If NTLMv1 is not allowed, such a response is not compared with any secret. The reply to the
// client is the same.
func TestNTLMVersion1(t *testing.T) {
	negotiate := []byte("NTLMSSP\x00\x01\x00\x00\x00\x02\x02\x00\x00")
	authenticate := append([]byte("NTLMSSP\x00\x03\x00\x00\x00"), make([]byte, 40)...)
	copy(authenticate[20:], "\x18\x00\x18\x00\x38\x00\x00\x00") // NT response
	copy(authenticate[36:], "\x04\x00\x04\x00\x34\x00\x00\x00") // user
	authenticate = append(authenticate, "anna"+"nothing but a response.."...)
	for _, v1 := range []bool{false, true} {
		j := &judge{user: "anna", secrets: secretsOf("secret")}
		cfg := ntlmOffice
		cfg.V1 = v1
		_, done, err := talk(newNTLM(cfg, j.check), negotiate, authenticate)
		if done || !errors.Is(err, ErrInvalid) || len(j.asked) != 1 || j.yes || j.refused == v1 || j.had != v1 {
			t.Errorf("V1 %v: %v %v, asked %q", v1, done, err, j.asked)
		}
	}
}

func TestNTLMMalformed(t *testing.T) {
	client := ntlm.Client{User: "anna", Password: "secret"}
	for name, responses := range map[string][][]byte{
		"empty":           {{}},
		"none twice":      {nil, nil},
		"wrong order":     {client.Negotiate(), client.Negotiate()},
		"base64 of words": {nil, []byte("anna")},
		"too long":        {append(client.Negotiate(), make([]byte, ntlm.MaxMessage)...)},
	} {
		j := &judge{}
		s := newNTLM(ntlmOffice, j.check)
		if _, done, err := talk(s, responses...); done || !errors.Is(err, ErrMalformed) || len(j.asked) != 0 {
			t.Errorf("%s: %v %v", name, done, err)
		}
		mustBeOver(t, s)
	}
}

func TestNetBIOS(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "office.example": "OFFICE", "mail": "MAIL", "a-very-long-company-name.example": "A-VERY-LONG-COM",
	} {
		if got := netBIOS(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
