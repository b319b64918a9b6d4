// Package strength judges the protocol version and the cipher suite of a TLS connection. The mail
// servers ask it before a login, and package certs for its list of clients. It never decides what
// to do with a weak connection.
package strength

import (
	"crypto/tls"
	"slices"
	"strings"
)

// broken are the ciphers weaker than 128 bits. 3DES has 112 bits; RC4 has 128 on paper, but an
// eavesdropper needs far fewer (RFC 7465).
var broken = []uint16{
	tls.TLS_RSA_WITH_RC4_128_SHA,
	tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA,
	tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA,
}

// WeakCipher reports whether a cipher suite has less than 128 bits of strength.
func WeakCipher(suite uint16) bool { return slices.Contains(broken, suite) }

// Legacy reports whether a connection uses features that only old programs need: TLS 1.0 or 1.1
// (RFC 8996), or a suite without forward secrecy, in CBC mode or with an obsolete cipher.
func Legacy(version, suite uint16) bool {
	return version < tls.VersionTLS12 || strings.Contains(tls.CipherSuiteName(suite), "_CBC_") ||
		slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool {
			return s.ID == suite
		})
}
