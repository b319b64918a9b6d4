package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"

	"github.com/emersion/go-sasl"
)

// maxResponse limits a response with a name and a digest, in octets. An address has at most 254
// (RFC 5321 §4.5.3.1.3).
const maxResponse = 512

// newCRAMMD5 is the server side of one CRAM-MD5 exchange (RFC 2195). The challenge must be a new
// newStamp. It calls check once and returns the error of check unchanged. A response has at most
// 512 octets.
func newCRAMMD5(challenge string, check func(user string, p proof) error) sasl.Server {
	return &exchange{greeting: []byte(challenge), greets: true, limit: maxResponse, steps: []step{
		func(response []byte) ([]byte, error) {
			space := bytes.LastIndexByte(response, ' ') // a name may contain spaces
			if space < 1 {
				return nil, ErrMalformed
			}
			digest, err := hexMD5(string(response[space+1:]))
			if err != nil {
				return nil, err
			}
			return nil, check(string(response[:space]), cramProof([]byte(challenge), digest))
		},
	}}
}

func cramProof(challenge, digest []byte) proof {
	return func(s *Secrets) (had, right bool) {
		switch {
		case s == nil:
			return false, false
		case len(s.CRAM) == 2*md5.Size:
			return true, sameKey(cramDigest(s.CRAM, challenge), digest)
		}
		for _, password := range octetForms(s.Clear) {
			mac := hmac.New(md5.New, password)
			mac.Write(challenge)
			right = sameKey(mac.Sum(nil), digest) || right
		}
		return s.Clear != "", right
	}
}

// cramDigest completes the HMAC-MD5 that cramState began.
func cramDigest(state, text []byte) []byte {
	return md5From(state[md5.Size:], md5From(state[:md5.Size], text))
}

// hexMD5 accepts upper and lower case, although the RFCs permit lower case only.
func hexMD5(digits string) ([]byte, error) {
	digest, err := hex.DecodeString(digits)
	if err != nil || len(digest) != md5.Size {
		return nil, ErrMalformed
	}
	return digest, nil
}
