// Package arc seals mail that is forwarded to another server (ARC, RFC 8617). The seal tells that
// server how the message was authenticated when it came here, and that it was not changed since. The
// server may then accept a message whose SPF no longer fits.
//
// Seal reads a message, verifies the chain of seals that it has, and returns the three fields to
// prepend. It does not decide whether a message is sealed; package remote does.
//
// The message is not trusted: its header is limited, and the number of seals and DNS lookups too.
package arc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Validation is the state of a chain of seals (RFC 8617 §4.4).
type Validation string

// The values of Validation.
const (
	None Validation = "none"
	Pass Validation = "pass"
	Fail Validation = "fail"
)

const maxSets = 50 // RFC 8617 §4.2.1

// ErrFull means that a message has too many seals, or seals that cannot be counted.
var ErrFull = errors.New("the message cannot be sealed any more")

// Options name the domain that seals, and its key.
type Options struct {
	Domain   string // in d=
	Selector string
	Key      crypto.Signer // RSA or Ed25519, as for DKIM
	// Hostname is the authserv-id of this server. The message's Authentication-Results field with it
	// is taken for the results of this server, so it must not come from elsewhere (RFC 8601 §5).
	Hostname string
	Now      time.Time
	// LookupTXT returns the TXT records of a name; none is no error. Errors pass.
	LookupTXT func(ctx context.Context, name string) ([]string, error)
}

// Seal reads a message with CRLF line ends and returns the fields to prepend, with their CRLF, and
// the state of the chain before. After an error the message may leave without a seal.
func Seal(ctx context.Context, message io.Reader, o Options) (fields []byte, v Validation, err error) {
	m, err := read(message)
	if err != nil {
		return nil, "", err
	}
	sets, broken := collect(m.header)
	if broken || len(sets) >= maxSets {
		return nil, Fail, ErrFull
	}
	if v, err = m.validate(ctx, sets, o.LookupTXT); err != nil {
		return nil, "", err
	}
	n := len(sets) + 1
	own := set{}
	own.results = newField("ARC-Authentication-Results", o.results(m.ownResults(o.Hostname), n, v))
	if own.signature, err = o.sign(m, n); err != nil {
		return nil, v, err
	}
	sealed := append(sets, own)
	if v == Fail {
		sealed = []set{own} // RFC 8617 §5.1.2
	}
	seal := newField("ARC-Seal", fmt.Sprintf("i=%d; a=%s; t=%d; cv=%s;\r\n\td=%s; s=%s;\r\n\tb=",
		n, o.algorithm(), o.Now.Unix(), v, o.Domain, o.Selector))
	signature, err := o.signature(sealData(sealed, seal))
	if err != nil {
		return nil, v, err
	}
	seal.value += signature
	return []byte(seal.text() + own.signature.text() + own.results.text()), v, nil
}

func (o *Options) results(own string, n int, v Validation) string {
	text := "i=" + strconv.Itoa(n) + "; " + o.Hostname
	if own != "" {
		text += ";" + own
	}
	return text + ";\r\n\tarc=" + string(v)
}

// signedNames are the fields that the message signature covers, if they are there. It must not cover
// those of ARC (RFC 8617 §4.1.2).
func signedNames() []string {
	return []string{
		"from", "to", "cc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references",
		"mime-version", "content-type", "content-transfer-encoding", "dkim-signature",
	}
}

// sign returns the ARC-Message-Signature.
func (o *Options) sign(m *parsed, n int) (field, error) {
	var names []string
	for _, name := range signedNames() {
		for _, f := range m.header {
			if f.is(name) {
				names = append(names, name)
			}
		}
	}
	f := newField("ARC-Message-Signature", fmt.Sprintf(
		"i=%d; a=%s; c=relaxed/relaxed;\r\n\td=%s; s=%s; t=%d;\r\n\th=%s;\r\n\tbh=%s;\r\n\tb=",
		n, o.algorithm(), o.Domain, o.Selector, o.Now.Unix(), strings.Join(names, ":\r\n\t "),
		base64.StdEncoding.EncodeToString(m.relaxedBody)))
	signature, err := o.signature(signedData(m.header, names, f, false))
	f.value += signature
	return f, err
}

func (o *Options) algorithm() string {
	if _, ok := o.Key.Public().(ed25519.PublicKey); ok {
		return "ed25519-sha256"
	}
	return "rsa-sha256"
}

// signature returns the signature of data, folded.
func (o *Options) signature(data []byte) (string, error) {
	sum := sha256.Sum256(data)
	hash := crypto.SHA256
	if o.algorithm() == "ed25519-sha256" {
		hash = 0 // RFC 8463 §3: the hash is the message
	}
	raw, err := o.Key.Sign(rand.Reader, sum[:], hash)
	if err != nil {
		return "", fmt.Errorf("seal for %s: %w", o.Domain, err)
	}
	text, out := base64.StdEncoding.EncodeToString(raw), ""
	for len(text) > 70 {
		out, text = out+text[:70]+"\r\n\t", text[70:]
	}
	return out + text, nil
}

// sealData is what an ARC-Seal signs (RFC 8617 §5.1.1): the fields of all sets in order. last is the
// seal itself, whose signature is left out.
func sealData(sets []set, last field) []byte {
	var b bytes.Buffer
	for i, s := range sets {
		b.WriteString(s.results.relaxed() + "\r\n" + s.signature.relaxed() + "\r\n")
		if i < len(sets)-1 {
			b.WriteString(s.seal.relaxed() + "\r\n")
		}
	}
	b.WriteString(last.unsigned().relaxed())
	return b.Bytes()
}

// signedData is what a message signature signs: the named fields, each name taking the last one not
// yet taken (RFC 6376 §5.4.2), and the signature itself without its value.
func signedData(header []field, names []string, own field, simple bool) []byte {
	form := field.relaxed
	if simple {
		form = field.simple
	}
	var b bytes.Buffer
	taken := map[string]int{}
	for _, name := range names {
		skip := taken[name]
		for i := len(header) - 1; i >= 0; i-- {
			if !header[i].is(name) {
				continue
			}
			if skip == 0 {
				b.WriteString(form(header[i]) + "\r\n")
				taken[name]++
				break
			}
			skip--
		}
	}
	b.WriteString(form(own.unsigned()))
	return b.Bytes()
}
