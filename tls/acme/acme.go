// Package acme gets a certificate for a server with a public name from an ACME
// server (RFC 8555), such as Let's Encrypt, and renews it.
//
// The certificate is an addition: the server shows the one of its own CA until
// there is one, and when it has ended. So no start needs the network, and no
// failure here stops mail.
//
// In its directory a [Renewer] has account.pem, the key of the account, and
// certificate.pem, the key of the certificate and the certificate with its chain.
// A file is replaced as a whole, so the two in it always fit.
package acme

import (
	"errors"
	"path/filepath"
	"slices"
	"time"
)

// LetsEncrypt is the directory of Let's Encrypt.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Challenge is a way to prove that a name is this server's.
type Challenge string

// The values of Challenge.
const (
	HTTP01    Challenge = "http-01"     // RFC 8555 §8.3: a file by HTTP at port 80
	TLSALPN01 Challenge = "tls-alpn-01" // RFC 8737: a certificate by TLS at port 443
)

// The files in Config.Dir.
const (
	accountFile     = "account.pem"
	certificateFile = "certificate.pem"
)

// CertificateFile is the file of the certificate in Config.Dir.
func CertificateFile(dir string) string { return filepath.Join(dir, certificateFile) }

// ErrOff says that no certificate is to be got.
var ErrOff = errors.New("ACME is off")

// Config says what certificate is wanted and how it is got.
type Config struct {
	// Dir is where the account and the certificate are kept: one for each ACME
	// server, because neither is worth anything with another.
	Dir string

	Directory string   // URL of the ACME server's directory
	Email     string   // where the ACME server writes to; "": nowhere
	Names     []string // DNS names, at least one, ASCII
	Challenge Challenge

	// Listen is where the challenge is answered, as net.Listen takes it. It is
	// listened on only while one is open. The ACME server always comes to port 80
	// (http-01) or 443 (tls-alpn-01) of each name.
	Listen string

	CAFile string // PEM, the CA of a private ACME server; "": those that the system trusts
}

func (c *Config) equal(other *Config) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c.Dir == other.Dir && c.Directory == other.Directory && c.Email == other.Email && slices.Equal(c.Names, other.Names) &&
		c.Challenge == other.Challenge && c.Listen == other.Listen && c.CAFile == other.CAFile
}

// Status is how things stand.
type Status struct {
	Enabled   bool      `json:"enabled"`
	Directory string    `json:"directory,omitempty"`
	Names     []string  `json:"names"`
	Challenge Challenge `json:"challenge,omitempty"`

	NotAfter time.Time `json:"not_after,omitzero"` // end of the certificate; zero: there is none
	Next     time.Time `json:"next,omitzero"`      // when the next attempt is due; zero: never
	Last     time.Time `json:"last,omitzero"`      // the last attempt since the server's start
	Error    string    `json:"error,omitempty"`    // what was wrong with it; "": nothing
	Failures int       `json:"failures,omitempty"` // attempts in a row that failed
}
