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

// maxSCRAM bounds a message of SCRAM, in octets. What is more than a name, a
// nonce and a digest is extensions that nobody has defined yet.
const maxSCRAM = 2048

// A scramBinding holds what the two ends of a TLS connection know and nobody in
// the middle does, by the types of channel binding (RFC 5929, RFC 9266); nil is
// a type that this connection has not.
type scramBinding struct {
	unique   []byte // tls-unique
	endPoint []byte // tls-server-end-point
	exporter []byte // tls-exporter
}

// bindTLS gives nil when the connection has no binding at all, and so -PLUS is
// not to be offered. leaf is the certificate that the server has shown, nil if
// the caller does not know: the connection does not keep it.
func bindTLS(state *tls.ConnectionState, leaf *x509.Certificate) *scramBinding {
	if state == nil || !state.HandshakeComplete {
		return nil
	}
	cb := scramBinding{endPoint: endPoint(leaf)}
	// Without an extended master secret (RFC 7627) somebody in the middle can make
	// two connections that are the same to the other bindings. The standard library
	// then exports nothing.
	if key, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		cb.exporter, cb.unique = key, state.TLSUnique
	}
	if cb.unique == nil && cb.endPoint == nil && cb.exporter == nil {
		return nil
	}
	return &cb
}

// endPoint is RFC 5929 §4.1.
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
	default: // Ed25519: the RFC leaves it undefined
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

// newSCRAMServer is the server side of one SCRAM-SHA-256 exchange, or with plus
// one of SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677). cb is nil where -PLUS was not
// offered; where it was, a client that says it saw no offer is refused, since
// somebody must have taken it away. keys gives what the client needs to make
// its proof, always the same for a name, known or not; check is called once,
// when it has come, and its error returned as it is. The server's last message
// is a challenge, and the empty response to it ends the exchange. A message is
// 2 KiB at most.
func newSCRAMServer(cb *scramBinding, plus bool, keys func(user string) SCRAM, check func(user string, p proof) error) sasl.Server {
	return newSCRAMWithNonce(cb, plus, rand.Text(), keys, check)
}

func newSCRAMWithNonce(cb *scramBinding, plus bool, nonce string, keys func(user string) SCRAM, check func(user string, p proof) error) sasl.Server {
	s := &scramServer{binding: cb, plus: plus, nonce: nonce, keys: keys, check: check}
	return &exchange{greeting: []byte{}, limit: maxSCRAM, steps: []step{s.first, s.final, func(response []byte) ([]byte, error) {
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
	nonce   string // the server's part; after first both parts
	user    string
	expect  string // in the c= of the client's last message
	spoken  string // the messages so far that the proof covers
}

// first takes the client-first-message (RFC 5802 §7).
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
	if len(attrs) < 2 { // an m= in the first place is an extension that must be understood
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
	challenge := fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(k.Salt), k.Iterations)
	s.spoken = bare + "," + challenge
	return []byte(challenge), nil
}

// bind holds the client's gs2-cbind-flag against what was offered (RFC 5802 §6).
func (s *scramServer) bind(flag string) ([]byte, error) {
	kind, bound := strings.CutPrefix(flag, "p=")
	switch {
	case bound != s.plus:
		return nil, fmt.Errorf("%w: SCRAM channel binding and the name of the mechanism do not agree", ErrMalformed)
	case flag == "n", flag == "y" && s.binding == nil:
		return nil, nil
	case flag == "y":
		return nil, fmt.Errorf("%w: the client saw no offer of SCRAM-SHA-256-PLUS: somebody changes what passes", ErrInvalid)
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
	if !strings.EqualFold(name, s.user) {
		return ErrInvalid
	}
	return nil
}

// final takes the client-final-message.
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
		return nil, fmt.Errorf("%w: SCRAM channel binding: the client is at the end of another TLS connection", ErrInvalid)
	}
	s.spoken += "," + text[:end]
	var signature []byte // of the server; only who has the right secrets has it
	err = s.check(s.user, func(secrets *Secrets) (had, right bool) {
		if secrets == nil || secrets.SCRAM == nil {
			return false, false
		}
		if right = s.proves(secrets.SCRAM, given); right {
			signature = hmacSHA256(secrets.SCRAM.ServerKey, s.spoken)
		}
		return true, right
	})
	if err != nil {
		return nil, err
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), nil
}

// proves is RFC 5802 §3: the proof is the client key under a pad that only the
// stored key gives.
func (s *scramServer) proves(k *SCRAM, given []byte) bool {
	key := hmacSHA256(k.StoredKey, s.spoken)
	for i := range key {
		key[i] ^= given[i]
	}
	stored := sha256.Sum256(key)
	return sameKey(k.StoredKey, stored[:])
}

// saslName undoes the saslname of RFC 5802 §7.
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

// printableNonce: the characters that RFC 5802 §7 lets a nonce have.
func printableNonce(nonce string) bool {
	return nonce != "" && !strings.ContainsFunc(nonce, func(r rune) bool { return r < '!' || r > '~' || r == ',' })
}
