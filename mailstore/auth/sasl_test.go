package auth

import (
	"errors"
	"testing"

	"github.com/emersion/go-sasl"
)

var errCheck = errors.New("check failed")

func TestSASL(t *testing.T) {
	plain, login := NewPLAIN, NewLOGIN
	none := []byte(nil)
	for _, c := range []struct {
		name       string
		mechanism  func(func(user, password string) error) sasl.Server
		responses  [][]byte
		challenges []string
		user, pass string
		want       error
	}{
		{"plain", plain, [][]byte{[]byte("\x00anna\x00a b")}, nil, "anna", "a b", nil},
		{"plain later", plain, [][]byte{none, []byte("\x00anna\x00pw")}, []string{""}, "anna", "pw", nil},
		{"plain authzid", plain, [][]byte{[]byte("Anna\x00anna\x00pw")}, nil, "anna", "pw", nil},
		{"plain whole authzid", plain, [][]byte{[]byte("anna@x.example\x00Anna\x00pw")}, nil, "anna@x.example", "pw", nil},
		{"plain bare authzid", plain, [][]byte{[]byte("anna\x00anna@x.example\x00pw")}, nil, "anna@x.example", "pw", nil},
		{"plain longer authzid", plain, [][]byte{[]byte("annabel\x00anna\x00pw")}, nil, "", "", ErrInvalid},
		{"plain authzid alone", plain, [][]byte{[]byte("@x.example\x00\x00pw")}, nil, "", "", ErrInvalid},
		{"plain blank", plain, [][]byte{[]byte("\x00anna \x00 pw ")}, nil, "anna", " pw ", nil},
		{"login blank", login, [][]byte{[]byte("anna  "), []byte("pw ")}, []string{"Password:"}, "anna", "pw ", nil},
		{"plain other authzid", plain, [][]byte{[]byte("boss\x00anna\x00pw")}, nil, "", "", ErrInvalid},
		{"plain empty", plain, [][]byte{{}}, nil, "", "", ErrMalformed},
		{"plain two fields", plain, [][]byte{[]byte("anna\x00pw")}, nil, "", "", ErrMalformed},
		{"plain four fields", plain, [][]byte{[]byte("\x00anna\x00pw\x00")}, nil, "", "", ErrMalformed},
		{"plain wrong", plain, [][]byte{[]byte("\x00anna\x00wrong")}, nil, "anna", "wrong", errCheck},
		{"login", login, [][]byte{none, []byte("anna"), []byte("pw")}, []string{"Username:", "Password:"}, "anna", "pw", nil},
		{"login inline", login, [][]byte{[]byte("anna"), []byte("pw")}, []string{"Password:"}, "anna", "pw", nil},
		{"login empty user", login, [][]byte{none, none, []byte("pw")}, []string{"Username:", "Password:"}, "", "pw", nil},
		{"login wrong", login, [][]byte{[]byte("anna"), []byte("wrong")}, []string{"Password:"}, "anna", "wrong", errCheck},
	} {
		t.Run(c.name, func(t *testing.T) {
			var user, pass string
			server := c.mechanism(func(u, p string) error {
				user, pass = u, p
				if p == "wrong" {
					return errCheck
				}
				return nil
			})
			for i, response := range c.responses {
				challenge, done, err := server.Next(response)
				if i < len(c.challenges) {
					if string(challenge) != c.challenges[i] || challenge == nil || done || err != nil {
						t.Fatalf("step %d: %q %v %v", i, challenge, done, err)
					}
					continue
				}
				if !errors.Is(err, c.want) || err == nil && !done {
					t.Fatalf("result: done %v, %v, want %v", done, err, c.want)
				}
			}
			if user != c.user || pass != c.pass {
				t.Errorf("checked %q %q", user, pass)
			}
			if _, done, err := server.Next([]byte("more")); c.want == nil && (done || !errors.Is(err, ErrMalformed)) {
				t.Errorf("after the end: %v %v", done, err)
			}
		})
	}
}
