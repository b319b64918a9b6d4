package ntlm

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/text/encoding/charmap"
)

// A Client is the client side of one exchange. It sends NTLMv2 only.
type Client struct {
	User, Domain string // the domain may be empty
	Password     string
	Workstation  string    // for the server's log; may be empty
	Nonce        [8]byte   // random, and new for each exchange
	Time         time.Time // the current time
}

const wanted = flagUnicode | flagOEM | flagTarget | flagNTLM | flagAlwaysSign | flagSession | flagTargetInfo

// Negotiate returns the client's first message.
func (c *Client) Negotiate() []byte {
	msg := newMessage(negotiateType, 32) // the names are empty
	binary.LittleEndian.PutUint32(msg[12:], wanted)
	return msg
}

// Authenticate answers a CHALLENGE_MESSAGE with an AUTHENTICATE_MESSAGE. The error is ErrMessage,
// or says that the server's encoding lacks a character of a name.
func (c *Client) Authenticate(challenge []byte) ([]byte, error) {
	got, err := parseChallenge(challenge)
	if err != nil {
		return nil, err
	}
	key := hashV2(Hash(c.Password), c.User, c.Domain)
	a := authenticate{flags: got.flags & wanted}
	a.nt = responseV2(key, got.nonce[:], c.blob(got.info))
	a.lm = append(hmacMD5(key, got.nonce[:], c.Nonce[:]), c.Nonce[:]...)
	if pair(got.info, avTime) != nil { // 3.1.5.1.2: no LMv2 if the server sent a time
		a.lm = make([]byte, 24)
	}
	for _, f := range []struct {
		to   *[]byte
		name string
	}{{&a.domain, c.Domain}, {&a.user, c.User}, {&a.workstation, c.Workstation}} {
		if *f.to, err = encodeName(f.name, got.flags); err != nil {
			return nil, err
		}
	}
	msg := a.marshal()
	if len(msg) > MaxMessage {
		return nil, fmt.Errorf("%w: %d octets", ErrMessage, len(msg))
	}
	return msg, nil
}

// blob is the NTLMv2_CLIENT_CHALLENGE (2.2.2.7), followed by four zeros, which its diagram lacks
// but all examples have.
func (c *Client) blob(info []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, 0x0101)
	if t := pair(info, avTime); len(t) == 8 {
		b = append(b, t...) // the server's own clock
	} else {
		b = binary.LittleEndian.AppendUint64(b, fileTime(c.Time))
	}
	b = append(b, c.Nonce[:]...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, info...)
	return append(b, 0, 0, 0, 0)
}

func responseV2(key, nonce, blob []byte) []byte {
	return append(hmacMD5(key, nonce, blob), blob...)
}

func encodeName(name string, flags uint32) ([]byte, error) {
	if flags&flagUnicode != 0 {
		return encodeUTF16(name), nil
	}
	b, err := charmap.Windows1252.NewEncoder().Bytes([]byte(name))
	if err != nil {
		return nil, fmt.Errorf("the server's encoding cannot represent the name %q", name)
	}
	return b, nil
}
