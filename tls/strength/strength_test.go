package strength

import (
	"crypto/tls"
	"testing"
)

func TestStrength(t *testing.T) {
	for _, test := range []struct {
		version, suite   uint16
		below128, legacy bool
	}{
		{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, false, false},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, false, false},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false, true},
		{tls.VersionTLS11, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false, true},
		{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, false, true},
		{tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA, false, true},
		{tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, true, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, true, true},
		{tls.VersionTLS10, tls.TLS_RSA_WITH_RC4_128_SHA, true, true},
	} {
		name := tls.VersionName(test.version) + " " + tls.CipherSuiteName(test.suite)
		if got := WeakCipher(test.suite); got != test.below128 {
			t.Errorf("%s: below 128 bits: %v", name, got)
		}
		if got := Legacy(test.version, test.suite); got != test.legacy {
			t.Errorf("%s: legacy: %v", name, got)
		}
	}
}

// A suite of the library that is missing here would not be judged.
func TestEverySuiteIsKnown(t *testing.T) {
	judged := 0
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if WeakCipher(s.ID) {
			judged++
		}
	}
	if judged != len(broken) || len(tls.CipherSuites())+len(tls.InsecureCipherSuites()) != 25 {
		t.Errorf("the library's suites are others now: look whether a new one is weak")
	}
}
