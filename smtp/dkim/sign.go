package dkim

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"pillarbox/mailstore/addr"
)

// signed are the fields that a signature covers (RFC 6376 §5.4.1). Each is named
// once more than a message has it, so that nobody can add another on the way
// (§8.15). Those that relays and lists add on their way are left alone.
func signed() []string {
	once := []string{
		"From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	}
	return append(once, once...)
}

// Signature reads a message with CRLF line ends and gives the DKIM-Signature
// field, with its CRLF, that belongs on top of it: with the key of the domain
// that signs now, relaxed/relaxed. ok is false when the domain has none; then
// nothing is read. An error is message's or that of the files, of the class
// ErrDamaged when a person must look at them; the message can go without a
// signature then. What is signed must not be changed any more, not even from
// 8-bit to 7-bit form.
func (k *Keys) Signature(domain addr.Domain, message io.Reader) (field []byte, ok bool, err error) {
	if checkDomain(domain) != nil {
		return nil, false, nil
	}
	selector, key, err := k.active(domain, time.Now())
	if err != nil || selector == "" {
		return nil, false, err
	}
	signer, err := dkim.NewSigner(&dkim.SignOptions{
		Domain: string(domain), Selector: selector, Signer: key, HeaderKeys: signed(),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return nil, false, fmt.Errorf("DKIM key %s of %s: %w", selector, domain, err)
	}
	// A message may end with its header. The empty line that this adds changes no signature of another: relaxed
	// canonical form has none at the end.
	_, err = io.Copy(signer, io.MultiReader(newUnfolder(message), strings.NewReader("\r\n")))
	if closed := signer.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, false, fmt.Errorf("sign for %s: %w", domain, err)
	}
	return []byte(signer.Signature()), true, nil
}
