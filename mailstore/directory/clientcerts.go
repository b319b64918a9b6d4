package directory

import "time"

// ClientCert is a certificate of the server's own CA that was made for a
// mailbox. The key is with the mail program, and nowhere here.
type ClientCert struct {
	Fingerprint string    `json:"fingerprint"` // SHA-256 of the certificate, small hexadecimal digits
	Issued      time.Time `json:"issued"`
	Expires     time.Time `json:"expires"`
}
