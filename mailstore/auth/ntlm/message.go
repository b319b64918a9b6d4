package ntlm

import (
	"encoding/binary"
	"fmt"
)

const (
	signature = "NTLMSSP\x00"

	negotiateType    = 1
	challengeType    = 2
	authenticateType = 3

	negotiateSize    = 16 // signature, type and flags; the rest is not needed
	challengeSize    = 32 // without target information, as before Windows 2000
	challengeHeader  = 56 // as written here: with target information and version
	authenticateSize = 52 // without session key and flags, as the oldest clients send it
	flagsSize        = 64 // with session key and flags
	micOffset        = 72 // after those and the Windows version
	micSize          = 16
)

// checkHeader checks the signature, the type and the minimum size of a message.
func checkHeader(msg []byte, kind uint32, size int) error {
	switch {
	case len(msg) > MaxMessage:
		return fmt.Errorf("%w: %d octets", ErrMessage, len(msg))
	case len(msg) < size, string(msg[:len(signature)]) != signature:
		return ErrMessage
	case binary.LittleEndian.Uint32(msg[8:]) != kind:
		return fmt.Errorf("%w: its type is not %d", ErrMessage, kind)
	}
	return nil
}

// field returns the octets at the field descriptor at an offset of the header. Fields may overlap,
// but must be after the header and inside the message.
func field(msg []byte, at, header int) ([]byte, error) {
	length := uint64(binary.LittleEndian.Uint16(msg[at:]))
	offset := uint64(binary.LittleEndian.Uint32(msg[at+4:]))
	switch {
	case length == 0: // the offset may be anything
		return nil, nil
	case offset < uint64(header), offset+length > uint64(len(msg)):
		return nil, fmt.Errorf("%w: a field is outside the message", ErrMessage)
	}
	return msg[offset : offset+length : offset+length], nil
}

// appendField appends data to a message and writes its descriptor into the header.
func appendField(msg []byte, at int, data []byte) []byte {
	binary.LittleEndian.PutUint16(msg[at:], uint16(len(data)))
	binary.LittleEndian.PutUint16(msg[at+2:], uint16(len(data)))
	binary.LittleEndian.PutUint32(msg[at+4:], uint32(len(msg)))
	return append(msg, data...)
}

func newMessage(kind uint32, size int) []byte {
	msg := make([]byte, size, 4*size)
	copy(msg, signature)
	binary.LittleEndian.PutUint32(msg[8:], kind)
	return msg
}

// parseNegotiate returns the flags of a NEGOTIATE_MESSAGE (2.2.1.1) and ignores its names.
func parseNegotiate(msg []byte) (flags uint32, err error) {
	if err := checkHeader(msg, negotiateType, negotiateSize); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(msg[12:]), nil
}

// challenge is a CHALLENGE_MESSAGE (2.2.1.2).
type challenge struct {
	target []byte // name of the target, encoded as the flags say
	flags  uint32
	nonce  [8]byte
	info   []byte // AV pairs
}

func parseChallenge(msg []byte) (challenge, error) {
	var c challenge
	if err := checkHeader(msg, challengeType, challengeSize); err != nil {
		return c, err
	}
	c.flags = binary.LittleEndian.Uint32(msg[20:])
	copy(c.nonce[:], msg[24:])
	var err error
	if c.target, err = field(msg, 12, challengeSize); err != nil {
		return c, err
	}
	if c.flags&flagTargetInfo != 0 {
		if len(msg) < 48 {
			return c, ErrMessage
		}
		c.info, err = field(msg, 40, 48)
	}
	return c, err
}

func (c *challenge) marshal() []byte {
	msg := newMessage(challengeType, challengeHeader)
	binary.LittleEndian.PutUint32(msg[20:], c.flags)
	copy(msg[24:], c.nonce[:])
	return appendField(appendField(msg, 12, c.target), 40, c.info)
}

// authenticate is an AUTHENTICATE_MESSAGE (2.2.1.3).
type authenticate struct {
	lm, nt       []byte // responses
	domain, user []byte // encoded as the flags say
	workstation  []byte
	sessionKey   []byte // encrypted
	flags        uint32
	hasFlags     bool
	mic          []byte // message integrity code; nil if the message has no room for one
}

func parseAuthenticate(msg []byte) (authenticate, error) {
	var a authenticate
	if err := checkHeader(msg, authenticateType, authenticateSize); err != nil {
		return a, err
	}
	payload := len(msg) // offset of the first field
	read := func(at int) (data []byte) {
		data, err := field(msg, at, authenticateSize)
		if err != nil {
			payload = -1
		} else if len(data) > 0 {
			payload = min(payload, int(binary.LittleEndian.Uint32(msg[at+4:])))
		}
		return data
	}
	a.lm, a.nt, a.domain, a.user, a.workstation = read(12), read(20), read(28), read(36), read(44)
	if payload >= flagsSize {
		a.hasFlags = true
		a.flags = binary.LittleEndian.Uint32(msg[60:])
		a.sessionKey = read(52)
	}
	if payload < 0 {
		return authenticate{}, fmt.Errorf("%w: a field is outside the message", ErrMessage)
	}
	if payload >= micOffset+micSize {
		a.mic = msg[micOffset : micOffset+micSize : micOffset+micSize]
	}
	return a, nil
}

func (a *authenticate) marshal() []byte {
	msg := newMessage(authenticateType, micOffset)
	binary.LittleEndian.PutUint32(msg[60:], a.flags)
	for _, f := range []struct {
		at   int
		data []byte
	}{{28, a.domain}, {36, a.user}, {44, a.workstation}, {12, a.lm}, {20, a.nt},
		{52, a.sessionKey}} {
		msg = appendField(msg, f.at, f.data)
	}
	return msg
}

// The AV pairs (2.2.2.1) that are used here.
const (
	avEnd             = 0
	avNetBIOSComputer = 1
	avNetBIOSDomain   = 2
	avDNSComputer     = 3
	avDNSDomain       = 4
	avFlags           = 6
	avTime            = 7
)

func appendPair(info []byte, id uint16, value []byte) []byte {
	info = binary.LittleEndian.AppendUint16(info, id)
	info = binary.LittleEndian.AppendUint16(info, uint16(len(value)))
	return append(info, value...)
}

// pair returns the value of an AV pair. It is nil if there is none before the end or before
// malformed data.
func pair(info []byte, id uint16) []byte {
	for len(info) >= 4 {
		got, size := binary.LittleEndian.Uint16(info), int(binary.LittleEndian.Uint16(info[2:]))
		if got == avEnd || len(info) < 4+size {
			return nil
		}
		if got == id {
			return info[4 : 4+size]
		}
		info = info[4+size:]
	}
	return nil
}
