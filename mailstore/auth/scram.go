package auth

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// maxSCRAM limits a SCRAM message, in octets. Anything beyond a name, a nonce and a digest would be
// an extension; none is defined yet.
const maxSCRAM = 2048

// A scramBinding holds the channel bindings of a TLS connection, by type (RFC 5929, RFC 9266). Both
// ends know them, and an attacker between two connections does not. nil means that the connection
// lacks the type.
type scramBinding struct {
	unique   []byte // tls-unique
	endPoint []byte // tls-server-end-point
	exporter []byte // tls-exporter
}

// bindTLS returns nil if the connection has no channel binding; -PLUS must not be offered then.
// leaf is the server's certificate, which a tls.ConnectionState of a server does not hold. It is
// nil if the caller does not know it.
func bindTLS(state *tls.ConnectionState, leaf *x509.Certificate) *scramBinding {
	if state == nil || !state.HandshakeComplete {
		return nil
	}
	cb := scramBinding{endPoint: endPoint(leaf)}
	// Without an extended master secret (RFC 7627), an attacker can set up two connections with
	// equal tls-unique and tls-exporter bindings. The standard library then exports no keying
	// material.
	if key, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		cb.exporter, cb.unique = key, state.TLSUnique
	}
	if cb.unique == nil && cb.endPoint == nil && cb.exporter == nil {
		return nil
	}
	return &cb
}

// endPoint is the tls-server-end-point binding (RFC 5929 §4.1).
func endPoint(leaf *x509.Certificate) []byte {
	if leaf == nil {
		return nil
	}
	var h crypto.Hash
	switch leaf.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.DSAWithSHA256, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = crypto.SHA512
	default: // Ed25519: undefined in the RFC
		return nil
	}
	digest := h.New()
	digest.Write(leaf.Raw)
	return digest.Sum(nil)
}

func (cb *scramBinding) of(kind string) []byte {
	switch {
	case cb == nil:
		return nil
	case kind == "tls-unique":
		return cb.unique
	case kind == "tls-server-end-point":
		return cb.endPoint
	case kind == "tls-exporter":
		return cb.exporter
	}
	return nil
}

// newSCRAMServer is the server side of one SCRAM-SHA-256 exchange, or of SCRAM-SHA-256-PLUS if plus
// is set (RFC 5802, RFC 7677).
//
// cb is nil if -PLUS was not offered. If it was, a client that claims to have seen no such offer is
// refused: an attacker must have removed it. keys returns what the client needs for its proof. It
// must return the same for the same name, known or not. check is called once, with the proof, and
// its error is returned unchanged.
//
// The server's last message is a challenge; an empty response ends the exchange. A message has at
// most 2 KiB.
func newSCRAMServer(cb *scramBinding, plus bool, keys func(user string) SCRAM,
	check func(user string, p proof) error) sasl.Server {
	return newSCRAMWithNonce(cb, plus, rand.Text(), keys, check)
}

func newSCRAMWithNonce(cb *scramBinding, plus bool, nonce string, keys func(user string) SCRAM,
	check func(user string, p proof) error) sasl.Server {
	s := &scramServer{binding: cb, plus: plus, nonce: nonce, keys: keys, check: check}
	return &exchange{greeting: []byte{}, limit: maxSCRAM,
		steps: []step{s.first, s.final, func(response []byte) ([]byte, error) {
			if len(response) != 0 {
				return nil, ErrMalformed
			}
			return nil, nil
		}}}
}

type scramServer struct {
	binding *scramBinding
	plus    bool
	keys    func(user string) SCRAM
	check   func(user string, p proof) error
	nonce   string // the server's part; after first, both parts
	user    string
	expect  string // required value of c= in the client's last message
	auth    string // the AuthMessage so far (RFC 5802 §3)
}

// first handles the client-first-message (RFC 5802 §7).
func (s *scramServer) first(response []byte) ([]byte, error) {
	fields := strings.SplitN(string(response), ",", 3)
	if !utf8.Valid(response) || len(fields) != 3 {
		return nil, ErrMalformed
	}
	flag, authzid, bare := fields[0], fields[1], fields[2]
	data, err := s.bind(flag)
	if err != nil {
		return nil, err
	}
	s.expect = flag + "," + authzid + "," + string(data)
	attrs := strings.Split(bare, ",")
	if len(attrs) < 2 { // a leading m= announces an extension that the server must understand
		return nil, ErrMalformed
	}
	name, ok1 := strings.CutPrefix(attrs[0], "n=")
	nonce, ok2 := strings.CutPrefix(attrs[1], "r=")
	s.user, err = saslName(name)
	if !ok1 || !ok2 || err != nil || !printableNonce(nonce) {
		return nil, ErrMalformed
	}
	if err := s.actsForItself(authzid); err != nil {
		return nil, err
	}
	s.nonce = nonce + s.nonce
	k := s.keys(s.user)
	challenge := fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(k.Salt),
		k.Iterations)
	s.auth = bare + "," + challenge
	return []byte(challenge), nil
}

// bind compares the client's gs2-cbind-flag with the offer (RFC 5802 §6).
func (s *scramServer) bind(flag string) ([]byte, error) {
	kind, bound := strings.CutPrefix(flag, "p=")
	switch {
	case bound != s.plus:
		return nil, fmt.Errorf("%w: SCRAM channel binding and mechanism name do not match",
			ErrMalformed)
	case flag == "n", flag == "y" && s.binding == nil:
		return nil, nil
	case flag == "y":
		return nil, fmt.Errorf("%w: the client saw no offer of SCRAM-SHA-256-PLUS; the connection may be under attack", ErrInvalid)
	case bound && s.binding.of(kind) != nil:
		return s.binding.of(kind), nil
	}
	return nil, fmt.Errorf("%w: unknown SCRAM channel binding", ErrMalformed)
}

func (s *scramServer) actsForItself(authzid string) error {
	if authzid == "" {
		return nil
	}
	name, ok := strings.CutPrefix(authzid, "a=")
	name, err := saslName(name)
	if !ok || err != nil {
		return ErrMalformed
	}
	if s.user, ok = actingFor(name, s.user); !ok {
		return ErrInvalid
	}
	return nil
}

// final handles the client-final-message.
func (s *scramServer) final(response []byte) ([]byte, error) {
	text := string(response)
	end := strings.LastIndex(text, ",p=")
	if !utf8.Valid(response) || end < 0 {
		return nil, ErrMalformed
	}
	given, err := base64.StdEncoding.Strict().DecodeString(text[end+len(",p="):])
	attrs := strings.Split(text[:end], ",")
	if err != nil || len(given) != sha256.Size || len(attrs) < 2 || attrs[1] != "r="+s.nonce {
		return nil, ErrMalformed
	}
	c, ok := strings.CutPrefix(attrs[0], "c=")
	bound, err := base64.StdEncoding.Strict().DecodeString(c)
	if !ok || err != nil {
		return nil, ErrMalformed
	}
	if string(bound) != s.expect {
		return nil, fmt.Errorf("%w: SCRAM channel binding: the client has a different TLS connection", ErrInvalid)
	}
	s.auth += "," + text[:end]
	var signature []byte // of the server; it proves that the server knows the secrets
	err = s.check(s.user, func(secrets *Secrets) (had, right bool) {
		if secrets == nil || secrets.SCRAM == nil {
			return false, false
		}
		if right = s.proves(secrets.SCRAM, given); right {
			signature = hmacSHA256(secrets.SCRAM.ServerKey, s.auth)
		}
		return true, right
	})
	if err != nil {
		return nil, err
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), nil
}

// proves checks a client proof (RFC 5802 §3): the client key XORed with an HMAC under the stored
// key.
func (s *scramServer) proves(k *SCRAM, given []byte) bool {
	key := hmacSHA256(k.StoredKey, s.auth)
	for i := range key {
		key[i] ^= given[i]
	}
	stored := sha256.Sum256(key)
	return sameKey(k.StoredKey, stored[:])
}

// saslName decodes a saslname (RFC 5802 §7).
func saslName(s string) (string, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return "", ErrMalformed
	}
	name := strings.ReplaceAll(s, "=2C", ",")
	if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(s, "=2C", ""), "=3D", ""), "=") {
		return "", ErrMalformed
	}
	return strings.ReplaceAll(name, "=3D", "="), nil
}

// printableNonce reports whether a nonce has only the characters that RFC 5802 §7 permits.
func printableNonce(nonce string) bool {
	return nonce != "" &&
		!strings.ContainsFunc(nonce, func(r rune) bool { return r < '!' || r > '~' || r == ',' })
}
