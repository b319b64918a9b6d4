// Package strength judges what a TLS connection is protected with.
package strength

import (
	"crypto/tls"
	"slices"
	"strings"
)

// broken are the ciphers that are weaker than 128 bits: 3DES has 112, and of
// the 128 that RC4 has on paper an eavesdropper needs far fewer (RFC 7465).
var broken = []uint16{
	tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA,
	tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA,
}

// WeakCipher reports whether a cipher suite protects with less than 128 bits.
func WeakCipher(suite uint16) bool { return slices.Contains(broken, suite) }

// Legacy reports whether a connection has what only old programs still need: TLS
// 1.0 or 1.1 (RFC 8996), or a suite without forward secrecy, in CBC mode or with a
// cipher that is out of use.
func Legacy(version, suite uint16) bool {
	return version < tls.VersionTLS12 || strings.Contains(tls.CipherSuiteName(suite), "_CBC_") ||
		slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == suite })
}
