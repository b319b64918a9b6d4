package auth

import (
	"bytes"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// newEXTERNAL is the server side of one EXTERNAL exchange (RFC 4422 app. A). The caller already
// knows the client's identity. check decides whether that identity may act for authzid; "" means
// itself. newEXTERNAL calls check once and returns its error unchanged. A response has at most 512
// octets.
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
