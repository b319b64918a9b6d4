package ntlm

import (
	"bytes"
	"testing"
	"unsafe"
)

// inside reports whether part is a slice of the message, and not a copy.
func inside(msg, part []byte) bool {
	if len(part) == 0 {
		return true
	}
	start, at := uintptr(unsafe.Pointer(unsafe.SliceData(msg))), uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	return at >= start && at+uintptr(len(part)) <= start+uintptr(len(msg))
}

// Parsed fields are inside the message, survive marshalling, and match no hash that they were not
// made from.
func FuzzAuthenticate(f *testing.F) {
	for _, v := range published {
		f.Add(unhex(f, v.authenticate))
	}
	f.Add(unbase64(f, micAuthenticate))
	f.Fuzz(func(t *testing.T, msg []byte) {
		a, err := parseAuthenticate(msg)
		if err != nil {
			return
		}
		if len(msg) > MaxMessage {
			t.Fatalf("took %d octets", len(msg))
		}
		for _, part := range [][]byte{a.lm, a.nt, a.domain, a.user, a.workstation, a.sessionKey, a.mic} {
			if !inside(msg, part) || cap(part) > len(part) {
				t.Fatalf("a field outside of the message, or with room behind it")
			}
		}
		if again := a.marshal(); len(again) <= MaxMessage {
			b, err := parseAuthenticate(again)
			if err != nil || !bytes.Equal(b.lm, a.lm) || !bytes.Equal(b.nt, a.nt) || !bytes.Equal(b.domain, a.domain) ||
				!bytes.Equal(b.user, a.user) || !bytes.Equal(b.workstation, a.workstation) || !bytes.Equal(b.sessionKey, a.sessionKey) || b.flags != a.flags {
				t.Fatalf("%+v became %+v, %v", a, b, err)
			}
		}
		r, err := exchanged(t, testNonce[:]).Authenticate(msg)
		if err == nil && r.Matches(Hash("\x00 nobody made a response with this")) {
			t.Fatal("matches")
		}
	})
}

func FuzzChallenge(f *testing.F) {
	for _, v := range published {
		f.Add(unhex(f, v.challenge))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		c, err := parseChallenge(msg)
		if err != nil {
			return
		}
		if !inside(msg, c.target) || !inside(msg, c.info) {
			t.Fatal("a field outside of the message")
		}
		client := &Client{User: "anna", Domain: "OFFICE", Password: "secret", Time: testTime}
		answer, err := client.Authenticate(msg)
		if err != nil {
			return
		}
		r, err := exchanged(t, c.nonce[:]).Authenticate(answer)
		if err != nil || r.User != "anna" || r.Domain != "OFFICE" || r.Version != V2 {
			t.Fatalf("the client answered %x: %+v, %v", answer, r, err)
		}
		// A server may request a message integrity code in its pairs, but this client makes
		// none.
		if pair(c.info, avFlags) == nil && !r.Matches(Hash("secret")) {
			t.Fatalf("the client's answer %x does not match", answer)
		}
	})
}

// Every first message gets a challenge that a client can parse, or an error.
func FuzzNegotiate(f *testing.F) {
	f.Add((&Client{}).Negotiate())
	f.Add(unbase64(f, micNegotiate))
	f.Fuzz(func(t *testing.T, msg []byte) {
		challenge, err := newServer().Challenge(msg)
		if err != nil {
			return
		}
		c, err := parseChallenge(challenge)
		if err != nil || c.nonce != testNonce || len(challenge) > 1024 || c.flags&flagUnicode != 0 == (c.flags&flagOEM != 0) || !bytes.Equal(c.marshal(), challenge) {
			t.Fatalf("%x: %+v, %v", challenge, c, err)
		}
	})
}
