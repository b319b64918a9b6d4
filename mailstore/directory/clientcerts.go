package directory

import "time"

// ClientCert is a certificate that the server's own CA issued for a mailbox. Only the mail program
// has the private key.
type ClientCert struct {
	// Fingerprint is the SHA-256 of the certificate, in lower-case hexadecimal.
	Fingerprint string    `json:"fingerprint"`
	Issued      time.Time `json:"issued"`
	Expires     time.Time `json:"expires"`
}
