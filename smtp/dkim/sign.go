package dkim

import (
	"crypto"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"pillarbox/mailstore/addr"
)

// signed returns the fields that a signature covers (RFC 6376 §5.4.1). Each is listed once more
// than it occurs in the message, so that another one cannot be added in transit (§8.15). Fields
// that relays and lists add in transit are not covered.
func signed() []string {
	once := []string{
		"From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	}
	return append(once, once...)
}

// Signer returns the domain's active key and its selector, for signatures of another kind. The
// selector is "" if the domain has no key. ErrDamaged means that an administrator must act.
func (k *Keys) Signer(domain addr.Domain) (selector string, key crypto.Signer, err error) {
	if checkDomain(domain) != nil {
		return "", nil, nil
	}
	return k.active(domain, time.Now())
}

// Signature reads a message with CRLF line ends and returns the DKIM-Signature field, with its
// CRLF, to be prepended. It uses the domain's active key and relaxed/relaxed canonicalization. If
// the domain has no key, ok is false and message is not read. An error comes from message or from
// the key files; ErrDamaged means that an administrator must act. After an error the message may
// leave unsigned. A signed message must not be changed, not even converted from 8 to 7 bits.
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
		HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization:   dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return nil, false, fmt.Errorf("DKIM key %s of %s: %w", selector, domain, err)
	}
	// A message may consist of a header only. The added empty line changes no other signature,
	// since the relaxed canonical form drops it at the end.
	_, err = io.Copy(signer, io.MultiReader(newUnfolder(message), strings.NewReader("\r\n")))
	if closed := signer.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, false, fmt.Errorf("sign for %s: %w", domain, err)
	}
	return []byte(signer.Signature()), true, nil
}
