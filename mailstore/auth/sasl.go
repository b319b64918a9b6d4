package auth

import (
	"bytes"
	"errors"
	"strings"

	"github.com/emersion/go-sasl"
)

// ErrMalformed means that a SASL response does not have the mechanism's form, or that none was
// expected.
var ErrMalformed = errors.New("malformed SASL response")

// NewPLAIN is the server side of one PLAIN exchange (RFC 4616). It calls check once and returns its
// error unchanged. The authorization identity must be empty or equal to the user name, otherwise
// the error is ErrInvalid: a user cannot act for another one.
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
	user, ok := actingFor(string(parts[0]), trimName(parts[1]))
	if !ok {
		return nil, false, ErrInvalid
	}
	return nil, true, s.check(user, string(parts[2]))
}

// trimName returns a user name without the blanks that some devices put after it.
func trimName(name []byte) string { return strings.TrimRight(string(name), " ") }

// actingFor returns the name to log in with. A client may act for itself only, but it may write one
// of its two names with the domain and the other without. Then the whole address logs in.
func actingFor(authzid, user string) (name string, ok bool) {
	whole := func(long, short string) bool {
		return len(long) > len(short) && long[len(short)] == '@' && strings.EqualFold(long[:len(short)], short)
	}
	switch {
	case authzid == "", strings.EqualFold(authzid, user), whole(user, authzid):
		return user, true
	case user != "" && whole(authzid, user):
		return authzid, true
	}
	return "", false
}

// NewLOGIN is the server side of one LOGIN exchange (draft-murchison-sasl-login). Clients expect
// exactly the prompts "Username:" and "Password:". An initial response is the user name. NewLOGIN
// calls check once and returns its error unchanged.
func NewLOGIN(check func(user, password string) error) sasl.Server {
	return &loginServer{check: check}
}

type loginServer struct {
	check func(user, password string) error
	state int // expected response: 0 none or the user name, 1 the user name, 2 the password
	user  string
}

func (s *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case s.state == 0 && response == nil:
		s.state = 1
		return []byte("Username:"), false, nil
	case s.state < 2:
		s.state = 2
		s.user = trimName(response)
		return []byte("Password:"), false, nil
	case s.state == 2:
		s.state = 3
		return nil, true, s.check(s.user, string(response))
	}
	return nil, false, ErrMalformed
}
