package auth

import (
	"bytes"
	"errors"
	"strings"

	"github.com/emersion/go-sasl"
)

// ErrMalformed is what a SASL server returns for a response that is not of its
// mechanism's form, or that comes when none is due.
var ErrMalformed = errors.New("malformed SASL response")

// NewPLAIN is the server side of one PLAIN exchange (RFC 4616). It calls check
// once, and returns its error as it is. Acting for somebody else is not
// offered: the authorization identity is empty or the user name, all else is
// ErrInvalid.
func NewPLAIN(check func(user, password string) error) sasl.Server {
	return &plainServer{check: check}
}

type plainServer struct {
	check func(user, password string) error
	done  bool
}

func (s *plainServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if s.done {
		return nil, false, ErrMalformed
	}
	if response == nil {
		return []byte{}, false, nil
	}
	s.done = true
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, ErrMalformed
	}
	authzid, user, password := string(parts[0]), string(parts[1]), string(parts[2])
	if authzid != "" && !strings.EqualFold(authzid, user) {
		return nil, false, ErrInvalid
	}
	return nil, true, s.check(user, password)
}

// NewLOGIN is the server side of one LOGIN exchange (draft-murchison-sasl-login),
// as the clients in use know it: the prompts are exactly "Username:" and
// "Password:", and an initial response is the user name. It calls check once,
// and returns its error as it is.
func NewLOGIN(check func(user, password string) error) sasl.Server {
	return &loginServer{check: check}
}

type loginServer struct {
	check func(user, password string) error
	state int // what the next response is: 0 nothing or the user name, 1 the user name, 2 the password
	user  string
}

func (s *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case s.state == 0 && response == nil:
		s.state = 1
		return []byte("Username:"), false, nil
	case s.state < 2:
		s.state = 2
		s.user = string(response)
		return []byte("Password:"), false, nil
	case s.state == 2:
		s.state = 3
		return nil, true, s.check(s.user, string(response))
	}
	return nil, false, ErrMalformed
}
