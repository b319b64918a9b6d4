package ntlm

import (
	"bytes"
	"crypto/hmac"
	"crypto/rc4"
	"encoding/binary"
	"time"
)

// Target is who the server says it is.
type Target struct {
	NetBIOSDomain, NetBIOSComputer string // 15 ASCII characters each; the domain may be missing
	DNSDomain, DNSComputer         string
}

// A Server is the server's side of one exchange: Challenge, then Authenticate.
type Server struct {
	Target Target
	Nonce  [8]byte   // random, and never used before
	Time   time.Time // now

	negotiate []byte // the messages so far
	challenge []byte
	flags     uint32 // that the challenge has
}

// echoed are the flags that a client gets when it asks for them. Those of signing
// and sealing cost nothing, since nothing is signed or sealed after a log-in to
// a mail server, but some clients insist on what they asked for.
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
	c := challenge{flags: asked&echoed | kind | flagNTLM | flagTargetInfo, nonce: s.Nonce, info: s.info()}
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

// fileTime counts the 100 ns since 1601, as Windows does.
func fileTime(t time.Time) uint64 {
	const from1601to1970 = 11_644_473_600 // seconds
	return uint64(t.Unix()+from1601to1970)*10_000_000 + uint64(t.Nanosecond()/100)
}

// A Response is who a client says it is, and how it proves it.
type Response struct {
	User, Domain string // as the client wrote them; both may be empty
	Version      Version

	authenticate
	server  *Server
	message []byte
}

// Authenticate takes an AUTHENTICATE_MESSAGE apart. It must follow Challenge,
// and the message must not change while the Response is in use.
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

// version goes by the form of the responses, as servers do; 0 is none of them.
func (a *authenticate) version() Version {
	switch {
	case len(a.nt) >= proofSize+blobSize:
		return V2
	case len(a.nt) == 0 && len(a.lm) == 24: // LMv2, or LM, which does not match then
		return V2
	case len(a.nt) != 24:
		return 0
	case len(a.lm) == 24 && bytes.Equal(a.lm[8:], make([]byte, 16)) && !bytes.Equal(a.lm[:8], make([]byte, 8)):
		return V1Session
	}
	return V1
}

// Matches tells whether the client knows the password that has the NT hash, 16
// octets. An NTLMv2 client's time is not looked at: the clocks of old machines
// are wrong, and the server's nonce is proof enough that the response is fresh.
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
	return hmac.Equal(proof, r.nt[:proofSize]) && r.untouched(key, proof)
}

// untouched verifies the code over all three messages that a client sends who
// says so in what the proof covers ([MS-NLMP] 3.1.5.1.2): nobody in the middle
// has talked the two sides into less than they have.
func (r *Response) untouched(key, proof []byte) bool {
	const provided = 2
	if flags := pair(r.nt[proofSize+blobSize:], avFlags); len(flags) != 4 || flags[0]&provided == 0 {
		return true
	}
	if r.mic == nil {
		return false
	}
	sessionKey := hmacMD5(key, proof)
	if r.flags&flagKeyExchange != 0 && len(r.sessionKey) == len(sessionKey) {
		cipher, _ := rc4.NewCipher(sessionKey) // fails on wrong sizes only
		sessionKey = make([]byte, len(r.sessionKey))
		cipher.XORKeyStream(sessionKey, r.sessionKey)
	}
	blank := bytes.Clone(r.message)
	clear(blank[micOffset : micOffset+micSize])
	return hmac.Equal(hmacMD5(sessionKey, r.server.negotiate, r.server.challenge, blank), r.mic)
}
