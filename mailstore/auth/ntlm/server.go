package ntlm

import (
	"bytes"
	"crypto/hmac"
	"crypto/rc4"
	"encoding/binary"
	"time"
)

// Target holds the names that the server sends.
type Target struct {
	NetBIOSDomain, NetBIOSComputer string // up to 15 ASCII characters each; the domain may be empty
	DNSDomain, DNSComputer         string
}

// A Server is the server side of one exchange: call Challenge, then Authenticate.
type Server struct {
	Target Target
	Nonce  [8]byte   // random, and new for each exchange
	Time   time.Time // the current time

	negotiate []byte // the messages so far
	challenge []byte
	flags     uint32 // of the challenge
}

// echoed flags are granted if the client asks for them. The flags for signing and sealing cost
// nothing, since mail servers sign and seal nothing after the login, but some clients insist on
// them.
const echoed = flagTarget | flagSign | flagSeal | flagAlwaysSign | flagSession | flag128 | flagKeyExchange | flag56

// Challenge answers a NEGOTIATE_MESSAGE with a CHALLENGE_MESSAGE.
func (s *Server) Challenge(negotiate []byte) ([]byte, error) {
	asked, err := parseNegotiate(negotiate)
	if err != nil {
		return nil, err
	}
	name, kind := s.Target.NetBIOSDomain, uint32(flagTargetDomain)
	if name == "" {
		name, kind = s.Target.NetBIOSComputer, flagTargetServer
	}
	c := challenge{flags: asked&echoed | kind | flagNTLM | flagTargetInfo, nonce: s.Nonce,
		info: s.info()}
	if asked&flagUnicode != 0 {
		c.flags |= flagUnicode
		c.target = encodeUTF16(name)
	} else {
		c.flags |= flagOEM
		c.target = []byte(name)
	}
	s.flags = c.flags
	s.negotiate, s.challenge = bytes.Clone(negotiate), c.marshal()
	return s.challenge, nil
}

func (s *Server) info() (info []byte) {
	for _, p := range []struct {
		id    uint16
		value string
	}{
		{avNetBIOSDomain, s.Target.NetBIOSDomain}, {avNetBIOSComputer, s.Target.NetBIOSComputer},
		{avDNSDomain, s.Target.DNSDomain}, {avDNSComputer, s.Target.DNSComputer},
	} {
		if p.value != "" {
			info = appendPair(info, p.id, encodeUTF16(p.value))
		}
	}
	info = appendPair(info, avTime, binary.LittleEndian.AppendUint64(nil, fileTime(s.Time)))
	return appendPair(info, avEnd, nil)
}

// fileTime is a Windows time: units of 100 ns since 1601.
func fileTime(t time.Time) uint64 {
	const from1601to1970 = 11_644_473_600 // seconds
	return uint64(t.Unix()+from1601to1970)*10_000_000 + uint64(t.Nanosecond()/100)
}

// A Response is a client's claimed identity and its proof.
type Response struct {
	User, Domain string // as the client sent them; both may be empty
	Version      Version

	authenticate
	server  *Server
	message []byte
}

// Authenticate parses an AUTHENTICATE_MESSAGE. Challenge must be called first. The message must not
// change while the Response is in use.
func (s *Server) Authenticate(msg []byte) (*Response, error) {
	if s.challenge == nil {
		return nil, ErrMessage
	}
	a, err := parseAuthenticate(msg)
	if err != nil {
		return nil, err
	}
	r := &Response{authenticate: a, server: s, message: msg}
	if !a.hasFlags {
		r.flags = s.flags
	}
	var err1, err2 error
	if r.flags&flagUnicode != 0 {
		r.User, err1 = decodeUTF16(a.user)
		r.Domain, err2 = decodeUTF16(a.domain)
	} else {
		r.User, r.Domain = decodeOEM(a.user), decodeOEM(a.domain)
	}
	r.Version = a.version()
	if err1 != nil || err2 != nil || r.Version == 0 {
		return nil, ErrMessage
	}
	return r, nil
}

const (
	proofSize = 16
	blobSize  = 28 // of an NTLMv2_CLIENT_CHALLENGE (2.2.2.7) without AV pairs
)

// version deduces the version from the sizes of the responses, as other servers do; 0 means that
// they fit no version.
func (a *authenticate) version() Version {
	switch {
	case len(a.nt) >= proofSize+blobSize:
		return V2
	case len(a.nt) == 0 && len(a.lm) == 24:
		// LMv2; an LM response looks the same but will not match
		return V2
	case len(a.nt) != 24:
		return 0
	case len(a.lm) == 24 && bytes.Equal(a.lm[8:], make([]byte, 16)) &&
		!bytes.Equal(a.lm[:8], make([]byte, 8)):
		return V1Session
	}
	return V1
}

// Matches reports whether the client knows the password with this NT hash (16 octets). It ignores
// the time that an NTLMv2 client sends: old machines have wrong clocks, and the server's nonce
// already proves that the response is fresh.
func (r *Response) Matches(hash []byte) bool {
	nonce := r.server.Nonce[:]
	switch {
	case len(hash) != 16:
		return false
	case r.Version == V1:
		return hmac.Equal(responseV1(hash, nonce), r.nt)
	case r.Version == V1Session:
		return hmac.Equal(responseV1Session(hash, nonce, r.lm[:8]), r.nt)
	}
	key := hashV2(hash, r.User, r.Domain)
	if len(r.nt) == 0 {
		return hmac.Equal(hmacMD5(key, nonce, r.lm[16:]), r.lm[:16])
	}
	proof := hmacMD5(key, nonce, r.nt[proofSize:])
	return hmac.Equal(proof, r.nt[:proofSize]) && r.micValid(key, proof)
}

// micValid checks the message integrity code over all three messages ([MS-NLMP] 3.1.5.1.2). It
// shows that no attacker in the middle has downgraded the exchange. A client announces the code in
// an AV pair, which the proof covers; without the announcement there is no code to check.
func (r *Response) micValid(key, proof []byte) bool {
	const provided = 2
	if flags := pair(r.nt[proofSize+blobSize:], avFlags); len(flags) != 4 ||
		flags[0]&provided == 0 {
		return true
	}
	if r.mic == nil {
		return false
	}
	sessionKey := hmacMD5(key, proof)
	if r.flags&flagKeyExchange != 0 && len(r.sessionKey) == len(sessionKey) {
		cipher, _ := rc4.NewCipher(sessionKey) // fails only for wrong key sizes
		sessionKey = make([]byte, len(r.sessionKey))
		cipher.XORKeyStream(sessionKey, r.sessionKey)
	}
	blank := bytes.Clone(r.message)
	clear(blank[micOffset : micOffset+micSize])
	return hmac.Equal(hmacMD5(sessionKey, r.server.negotiate, r.server.challenge, blank), r.mic)
}
