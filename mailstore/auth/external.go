package auth

import (
	"bytes"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// newEXTERNAL is the server side of one EXTERNAL exchange (RFC 4422 app. A).
// Who the client is, the caller knows from elsewhere; check decides whether
// that one may act for authzid, which is "" for "as whom you know me". It is
// called once, and its error returned as it is. A response is 512 octets at
// most.
func newEXTERNAL(check func(authzid string) error) sasl.Server {
	return &exchange{greeting: []byte{}, limit: maxResponse, steps: []step{
		func(response []byte) ([]byte, error) {
			if !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
				return nil, ErrMalformed
			}
			return nil, check(string(response))
		},
	}}
}
