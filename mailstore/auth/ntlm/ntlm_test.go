package ntlm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
)

var (
	testTarget = Target{"OFFICE", "MAIL", "office.example", "mail.office.example"}
	testNonce  = [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	testTime   = time.Unix(1e9, 0)
)

func newServer() *Server { return &Server{Target: testTarget, Nonce: testNonce, Time: testTime} }

// logIn runs a whole exchange.
func logIn(t *testing.T, c *Client, s *Server) *Response {
	t.Helper()
	challenge, err := s.Challenge(c.Negotiate())
	if err != nil {
		t.Fatal(err)
	}
	msg, err := c.Authenticate(challenge)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Authenticate(msg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClientAndServer(t *testing.T) {
	c := &Client{User: "jürgen", Domain: "Büro", Password: "Paßwort€𝄞", Workstation: "PC-1", Nonce: [8]byte{9}, Time: testTime}
	r := logIn(t, c, newServer())
	if r.User != c.User || r.Domain != c.Domain || r.Version != V2 {
		t.Errorf("%q %q, version %d", r.User, r.Domain, r.Version)
	}
	if !r.Matches(Hash(c.Password)) || r.Matches(Hash("Passwort")) {
		t.Error("wrong verdict")
	}
	if !bytes.Equal(r.lm, make([]byte, 24)) {
		t.Error("LMv2 to a server that gives its time")
	}
	if got := pair(r.nt[proofSize+blobSize:], avDNSDomain); !bytes.Equal(got, encodeUTF16("office.example")) {
		t.Errorf("the client's blob has DNS domain %q", got)
	}
}

// The challenge to the first message of [MS-POP3] 4.1, parsed.
func TestChallenge(t *testing.T) {
	for name, tt := range map[string]struct {
		asked, want uint32
		target      Target
		name        string
	}{
		"windows":      {0xa2088207, 0xa0898205, testTarget, "O\x00F\x00F\x00I\x00C\x00E\x00"},
		"no domain":    {0xa2088207, 0xa08a8205, Target{NetBIOSComputer: "MAIL"}, "M\x00A\x00I\x00L\x00"},
		"oem":          {0x00000202, 0x00810202, testTarget, "OFFICE"},
		"no character": {0, 0x00810202, testTarget, "OFFICE"},
	} {
		s := newServer()
		s.Target = tt.target
		negotiate := newMessage(negotiateType, negotiateSize)
		binary.LittleEndian.PutUint32(negotiate[12:], tt.asked)
		msg, err := s.Challenge(negotiate)
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseChallenge(msg)
		if err != nil || c.flags != tt.want || c.nonce != testNonce || string(c.target) != tt.name {
			t.Errorf("%s: %x %q, %v", name, c.flags, c.target, err)
		}
		if got := pair(c.info, avTime); len(got) != 8 || binary.LittleEndian.Uint64(got) != 126_444_736_000_000_000 {
			t.Errorf("%s: time %x", name, got)
		}
	}
}

// A login by python3-ntlm-auth 1.4.0, with key exchange and a message integrity code. Its names are
// not in Unicode.
const (
	micNegotiate    = "TlRMTVNTUAABAAAAMrCI4gYABgAoAAAAAwADAC4AAAAGAbEdAAAAD09GRklDRVdTMQ=="
	micAuthenticate = `TlRMTVNTUAADAAAAGAAYAGcAAACuAK4AfwAAAAYABgBYAAAABgAGAF4AAAADAAMAZAAAABAAEAAtAQAAMoKJ4AAAAAAAAAAA
		Pt7MhDMtbf2AuW4bHGd+RE9GRklDRUp1cmdlbldTMQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAG6OajIYDoaTSxby4Z4v7vEB
		AQAAAAAAAACA/0TROMEBQc5G8T30qP0AAAAAAgAMAE8ARgBGAEkAQwBFAAEACABNAEEASQBMAAQAHABvAGYAZgBpAGMAZQAu
		AGUAeABhAG0AcABsAGUAAwAmAG0AYQBpAGwALgBvAGYAZgBpAGMAZQAuAGUAeABhAG0AcABsAGUABwAIAACA/0TROMEBBgAE
		AAIAAAAAAAAAAAAAAIaz5THokg6H0REXt7O9tNc=`
)

func TestMIC(t *testing.T) {
	for name, tt := range map[string]struct {
		tamper func(negotiate, authenticate []byte)
		want   bool
	}{
		"untouched":       {func(_, _ []byte) {}, true},
		"first message":   {func(n, _ []byte) { n[len(n)-1] ^= 1 }, false},
		"flags":           {func(_, a []byte) { a[60] ^= 0x10 }, false},
		"workstation":     {func(_, a []byte) { a[0x64] ^= 1 }, false},
		"the code itself": {func(_, a []byte) { a[micOffset] ^= 1 }, false},
		"session key":     {func(_, a []byte) { a[len(a)-1] ^= 1 }, false},
		"no room for it":  {func(_, a []byte) { binary.LittleEndian.PutUint32(a[48:], micOffset) }, false},
	} {
		negotiate, authenticate := unbase64(t, micNegotiate), unbase64(t, micAuthenticate)
		tt.tamper(negotiate, authenticate)
		s := newServer()
		if _, err := s.Challenge(negotiate); err != nil {
			t.Fatal(err)
		}
		r, err := s.Authenticate(authenticate)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := r.Matches(Hash("Passwörd")); got != tt.want || r.User != "Jurgen" || r.Domain != "OFFICE" {
			t.Errorf("%s: %v, %q %q", name, got, r.User, r.Domain)
		}
	}
}

// Logins from curl's own test suite.
func TestCurl(t *testing.T) {
	const nonce = "73 9d 40 61 50 e0 c8 d7"
	for name, tt := range map[string]struct {
		message string
		version Version
	}{
		"session": {`TlRMTVNTUAADAAAAGAAYAEAAAAAYABgAWAAAAAAAAABwAAAACAAIAHAAAAAIAAgAeAAAAAAAAAAAAAAAhoIBADQzMjE1MzIx
			AAAAAAAAAAAAAAAAAAAAADj3hs3u3j0kgJqCrLM+74BmaoNHDfIJjHRlc3R1c2VyY3VybGhvc3Q=`, V1Session},
		"v2": {`TlRMTVNTUAADAAAAGAAYAEAAAACeAJ4AWAAAAAAAAAD2AAAACAAIAPYAAAAIAAgA/gAAAAAAAAAAAAAABoKBAL9LNW5+nkyHZRmyFaL/LJ4xMjM0MjIzNGUC
			yhgQ9hw6eWAT13EbDa0BAQAAAAAAAACAPtXesZ0BMTIzNDIyMzQAAAAAAgAEAEMAQwABABIARQBMAEkAUwBBAEIARQBUAEgABAAYAGMAYwAuAGkAYwBlAGQAZQB2
			AC4AbgB1AAMALABlAGwAaQBzAGEAYgBlAHQAaAAuAGMAYwAuAGkAYwBlAGQAZQB2AC4AbgB1AAAAAAAAAAAAdGVzdHVzZXJjdXJsaG9zdA==`, V2},
	} {
		r, err := exchanged(t, unhex(t, nonce)).Authenticate(unbase64(t, tt.message))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.User != "testuser" || r.Domain != "" || r.Version != tt.version || !r.Matches(Hash("testpass")) || r.Matches(Hash("testpasS")) {
			t.Errorf("%s: %q %q, version %d", name, r.User, r.Domain, r.Version)
		}
	}
}

// Forms that old clients send, and forms that must never match.
func TestResponses(t *testing.T) {
	hash := Hash("secret")
	key := hashV2(hash, "anna", "")
	lmv2 := append(hmacMD5(key, testNonce[:], []byte("client!!")), "client!!"...)
	for name, tt := range map[string]struct {
		lm, nt  []byte
		version Version // 0: malformed
		want    bool
	}{
		"v1":                         {make([]byte, 24), responseV1(hash, testNonce[:]), V1, true},
		"v1 alone":                   {nil, responseV1(hash, testNonce[:]), V1, true},
		"v1 twice":                   {responseV1(hash, testNonce[:]), responseV1(hash, testNonce[:]), V1, true},
		"v1 as LM alone":             {responseV1(hash, testNonce[:]), nil, V2, false},
		"LMv2":                       {lmv2, nil, V2, true},
		"LMv2, wrong":                {append([]byte{lmv2[0] ^ 1}, lmv2[1:]...), nil, V2, false},
		"LMv2 beside a wrong NTLMv2": {lmv2, make([]byte, 60), V2, false},
		"zeros":                      {make([]byte, 24), nil, V2, false},
		"nothing":                    {nil, nil, 0, false},
		"a proof without a blob":     {nil, hmacMD5(key, testNonce[:]), 0, false},
		"a short blob":               {nil, responseV2(key, testNonce[:], make([]byte, blobSize-1)), 0, false},
		"a blob without pairs":       {nil, responseV2(key, testNonce[:], make([]byte, blobSize)), V2, true},
	} {
		a := authenticate{lm: tt.lm, nt: tt.nt, user: []byte("anna")}
		r, err := exchanged(t, testNonce[:]).Authenticate(a.marshal())
		if tt.version == 0 {
			if !errors.Is(err, ErrMessage) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || r.Version != tt.version || r.Matches(hash) != tt.want {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// The headers of the oldest clients end before session key and flags; then the challenge's flags
// apply.
func TestOldForm(t *testing.T) {
	s := newServer()
	negotiate := newMessage(negotiateType, negotiateSize)
	binary.LittleEndian.PutUint32(negotiate[12:], flagUnicode|flagNTLM)
	if _, err := s.Challenge(negotiate); err != nil {
		t.Fatal(err)
	}
	msg := newMessage(authenticateType, authenticateSize)
	msg = appendField(msg, 36, encodeUTF16("anna"))
	msg = appendField(msg, 20, responseV1(Hash("secret"), testNonce[:]))
	r, err := s.Authenticate(msg)
	if err != nil || r.User != "anna" || r.Version != V1 || !r.Matches(Hash("secret")) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestMalformed(t *testing.T) {
	good := unhex(t, published[2].authenticate)
	change := func(at int, b ...byte) []byte {
		msg := bytes.Clone(good)
		copy(msg[at:], b)
		return msg
	}
	for name, msg := range map[string][]byte{
		"empty":                {},
		"short":                good[:authenticateSize-1],
		"cut":                  good[:len(good)-1],
		"signature":            change(0, 'n'),
		"type":                 change(8, 1),
		"offset past the end":  change(24, 0xff, 0xff),
		"offset that wraps":    change(24, 0xff, 0xff, 0xff, 0xff),
		"length past the end":  change(20, 0xff, 0xff),
		"inside the header":    change(40, 0, 0),
		"odd length of a name": change(36, 7),
		"too long":             append(bytes.Clone(good), make([]byte, MaxMessage)...),
	} {
		if r, err := exchanged(t, testNonce[:]).Authenticate(msg); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := (&Server{}).Authenticate(good); !errors.Is(err, ErrMessage) {
		t.Error("no challenge was sent")
	}
	for _, msg := range []string{"", "NTLMSSP\x00\x01\x00\x00\x00\x00\x00\x00", "NTLMSSP\x00\x02\x00\x00\x00\x00\x00\x00\x00", "GET / HTTP/1.1\r\n\r\n"} {
		if _, err := newServer().Challenge([]byte(msg)); !errors.Is(err, ErrMessage) {
			t.Errorf("%q: %v", msg, err)
		}
	}
	challenge := unhex(t, published[2].challenge)
	for _, msg := range [][]byte{nil, challenge[:31], challenge[:47], challenge[:60], append(bytes.Clone(challenge[:12]), challenge[8:]...)} {
		if _, err := (&Client{}).Authenticate(msg); !errors.Is(err, ErrMessage) {
			t.Errorf("%x: %v", msg, err)
		}
	}
}

// A server older than Windows 2000, or one without Unicode.
func TestClientWithOldServer(t *testing.T) {
	msg := newMessage(challengeType, challengeSize)
	copy(msg[24:], testNonce[:])
	c := &Client{User: "jürgen", Password: "secret", Time: testTime}
	answer, err := c.Authenticate(msg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := exchanged(t, testNonce[:]).Authenticate(answer)
	if err != nil || r.User != "jürgen" || !r.Matches(Hash("secret")) {
		t.Errorf("%+v, %v", r, err)
	}
	if len(r.nt) != proofSize+blobSize+4 || bytes.Equal(r.lm, make([]byte, 24)) {
		t.Errorf("responses %x %x", r.lm, r.nt)
	}
	c.User = "Ольга"
	if _, err := c.Authenticate(msg); err == nil || !strings.Contains(err.Error(), "Ольга") {
		t.Errorf("a name that the server cannot read: %v", err)
	}
}
