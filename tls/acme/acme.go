// Package acme gets a certificate for a server with a public name from an ACME server (RFC 8555),
// such as Let's Encrypt, and renews it.
//
// Start with [Config] and [Renewer]: [Renewer.Run] runs in the background, and [Renewer.Status]
// tells how it goes. The daemon runs it; package certs reads the certificate file.
//
// The certificate is an addition. The server uses that of its own CA until there is one, and after
// it has expired. So the start never needs the network, and no failure here may stop mail.
//
// The directory of a [Renewer] holds account.pem, the key of the account, and certificate.pem, the
// key of the certificate followed by the certificate and its chain. A file is replaced as a whole,
// so key and certificate always match.
package acme

import (
	"errors"
	"path/filepath"
	"slices"
	"time"
)

// LetsEncrypt is the URL of the Let's Encrypt directory.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Challenge is a way to prove that a name belongs to this server.
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

// CertificateFile returns the path of the certificate file for Config.Dir.
func CertificateFile(dir string) string { return filepath.Join(dir, certificateFile) }

// ErrOff says that the configuration has no ACME server.
var ErrOff = errors.New("ACME is off")

// Config says which certificate to get, and how.
type Config struct {
	// Dir holds the account and the certificate. Each ACME server needs its own directory, because
	// accounts and certificates belong to one server.
	Dir string

	Directory string   // URL of the ACME server's directory
	Email     string   // contact for the ACME server; "" means none
	Names     []string // DNS names, at least one, ASCII
	Challenge Challenge

	// Listen is the address on which the challenge is answered, as in net.Listen. It is open only
	// during an attempt. The ACME server always connects to port 80 (http-01) or 443 (tls-alpn-01)
	// of each name.
	Listen string

	CAFile string // PEM, the CA of a private ACME server; "" means the CAs that the system trusts
}

func (c *Config) equal(other *Config) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c.Dir == other.Dir && c.Directory == other.Directory && c.Email == other.Email &&
		slices.Equal(c.Names, other.Names) && c.Challenge == other.Challenge &&
		c.Listen == other.Listen && c.CAFile == other.CAFile
}

// Status describes the certificate and the attempts to get it.
type Status struct {
	Enabled   bool      `json:"enabled"`
	Directory string    `json:"directory,omitempty"`
	Names     []string  `json:"names"`
	Challenge Challenge `json:"challenge,omitempty"`

	NotAfter time.Time `json:"not_after,omitzero"` // expiry of the certificate; zero without one
	Next     time.Time `json:"next,omitzero"`      // when the next attempt is due; zero means never
	Last     time.Time `json:"last,omitzero"`      // the last attempt since the server's start
	Error    string    `json:"error,omitempty"`    // why it failed; "" if it succeeded
	Failures int       `json:"failures,omitempty"` // failed attempts in a row
}
