package ntlm

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The values of [MS-NLMP] 4.2.1, common to all of its examples.
const (
	msUser, msDomain, msPassword = "User", "Domain", "Password"
	msServerChallenge            = "0123456789abcdef"
	msClientChallenge            = "aaaaaaaaaaaaaaaa"
	msTargetInfo                 = "02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200 00000000" // 4.2.4
)

// The intermediate values of [MS-NLMP] 4.2.2 to 4.2.4.
func TestPublishedValues(t *testing.T) {
	server, client := unhex(t, msServerChallenge), unhex(t, msClientChallenge)
	hash := Hash(msPassword)
	key := hashV2(hash, msUser, msDomain)
	temp := (&Client{Nonce: [8]byte(client)}).blob(unhex(t, msTargetInfo))
	clear(temp[8:16]) // the example's time is the zero of 1601, which no clock gives
	proof := responseV2(key, server, temp)
	for _, v := range []struct {
		section string
		got     []byte
		want    string
	}{
		{"4.2.2.1.2 NTOWFv1", hash, "a4f49c406510bdcab6824ee7c30fd852"},
		{"4.2.2.2.1 NTLMv1 response", responseV1(hash, server), "67c43011f30298a2ad35ece64f16331c44bdbed927841f94"},
		{"4.2.3.2.2 NTLMv1 response with client challenge", responseV1Session(hash, server, client), "7537f803ae367128ca458204bde7caf81e97ed2683267232"},
		{"4.2.4.1.1 NTOWFv2", key, "0c868a403bfd7a93a3001ef22ef02e3f"},
		{"4.2.4.1.2 session base key", hmacMD5(key, proof[:16]), "8de40ccadbc14a82f15cb0ad0de95ca3"},
		{"4.2.4.1.3 temp", temp, "0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000" + msTargetInfo + "00000000"},
		{"4.2.4.2.1 LMv2 response", append(hmacMD5(key, server, client), client...), "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa"},
		{"4.2.4.2.2 NTLMv2 response", proof[:16], "68cd0ab851e51c96aabc927bebef6a1c"},
	} {
		if !bytes.Equal(v.got, unhex(t, v.want)) {
			t.Errorf("%s: %x", v.section, v.got)
		}
	}
}

// The messages of [MS-NLMP] 4.2.2.3, 4.2.3.3 and 4.2.4.3.
var published = []struct {
	section, challenge, authenticate string
	version                          Version
}{
	{
		"4.2.2.3",
		"4e544c4d53535000020000000c000c0038000000338202e20123456789abcdef00000000000000000000000000000000060070170000000f530065007200760065007200",
		"4e544c4d5353500003000000180018006c00000018001800840000000c000c00480000000800080054000000100010005c000000100010009c000000358280e20501280a0000000f44006f006d00610069006e00550073006500720043004f004d005000550054004500520098def7b87f88aa5dafe2df779688a172def11c7d5ccdef1367c43011f30298a2ad35ece64f16331c44bdbed927841f94518822b1b3f350c8958682ecbb3e3cb7",
		V1,
	},
	{
		"4.2.3.3",
		"4e544c4d53535000020000000c000c003800000033820a820123456789abcdef00000000000000000000000000000000060070170000000f530065007200760065007200",
		"4e544c4d5353500003000000180018006c00000018001800840000000c000c00480000000800080054000000100010005c000000000000009c000000358208820501280a0000000f44006f006d00610069006e00550073006500720043004f004d0050005500540045005200aaaaaaaaaaaaaaaa000000000000000000000000000000007537f803ae367128ca458204bde7caf81e97ed2683267232",
		V1Session,
	},
	{
		"4.2.4.3",
		"4e544c4d53535000020000000c000c003800000033828ae20123456789abcdef00000000000000002400240044000000060070170000000f53006500720076006500720002000c0044006f006d00610069006e0001000c0053006500720076006500720000000000",
		"4e544c4d5353500003000000180018006c00000054005400840000000c000c00480000000800080054000000100010005c00000010001000d8000000358288e20501280a0000000f44006f006d00610069006e00550073006500720043004f004d005000550054004500520086c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa68cd0ab851e51c96aabc927bebef6a1c01010000000000000000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e0001000c005300650072007600650072000000000000000000c5dad2544fc9799094ce1ce90bc9d03e",
		V2,
	},
}

// exchanged is a server that has sent a challenge with the nonce.
func exchanged(t testing.TB, nonce []byte) *Server {
	t.Helper()
	s := &Server{Nonce: [8]byte(nonce), Target: Target{NetBIOSComputer: "SERVER"}}
	if _, err := s.Challenge(newMessage(negotiateType, negotiateSize)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPublishedMessages(t *testing.T) {
	for _, v := range published {
		c, err := parseChallenge(unhex(t, v.challenge))
		if err != nil || !bytes.Equal(c.nonce[:], unhex(t, msServerChallenge)) || !bytes.Equal(c.target, encodeUTF16("Server")) {
			t.Errorf("%s: challenge %+v, %v", v.section, c, err)
		}
		if v.version == V2 && !bytes.Equal(c.info, unhex(t, msTargetInfo)) {
			t.Errorf("%s: target information %x", v.section, c.info)
		}
		r, err := exchanged(t, c.nonce[:]).Authenticate(unhex(t, v.authenticate))
		if err != nil {
			t.Errorf("%s: %v", v.section, err)
			continue
		}
		if r.User != msUser || r.Domain != msDomain || !bytes.Equal(r.workstation, encodeUTF16("COMPUTER")) || r.Version != v.version {
			t.Errorf("%s: %q %q %q, version %d", v.section, r.User, r.Domain, r.workstation, r.Version)
		}
		if !r.Matches(Hash(msPassword)) || r.Matches(Hash("password")) || r.Matches(nil) {
			t.Errorf("%s: wrong verdict", v.section)
		}
		other := exchanged(t, []byte("12345678"))
		if r, _ := other.Authenticate(unhex(t, v.authenticate)); r.Matches(Hash(msPassword)) {
			t.Errorf("%s: matches another challenge", v.section)
		}
	}
}

// The messages of [MS-POP3] 4 and [MS-SMTPNTLM] 4. The passwords of the logins
// are not published.
func TestPublishedExchanges(t *testing.T) {
	for _, v := range []struct {
		section, negotiate, challenge, authenticate string
		flags                                       uint32 // of the first message
		nonce, target, dns                          string // of the second
		user, domain, workstation, lm, nt           string // of the third
	}{
		{
			"[MS-POP3] 4.1",
			"TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAFASgKAAAADw==",
			`TlRMTVNTUAACAAAAFAAUADgAAAAFgoqinziKqGYjdlEAAAAAAAAAAGQAZABMAAAABQ
			LODgAAAA9UAEUAUwBUAFMARQBSAFYARQBSAAIAFABUAEUAUwBUAFMARQBSAFYARQBSAA
			EAFABUAEUAUwBUAFMARQBSAFYARQBSAAQAFABUAGUAcwB0AFMAZQByAHYAZQByAAMAFA
			BUAGUAcwB0AFMAZQByAHYAZQByAAAAAAA=`,
			`TlRMTVNTUAADAAAAGAAYAGIAAAAYABgAegAAAAAAAABIAAAACAAIAEgAAAASABIAUAAA
			AAAAAACSAAAABYKIogUBKAoAAAAPdQBzAGUAcgBOAEYALQBDAEwASQBFAE4AVABKMiQ4
			djhcSgAAAAAAAAAAAAAAAAAAAAC7zUSgB0Auy98bRi6h3mwHMJfbKNtxmmo=`,
			0xa2088207, "9f388aa866237651", "TESTSERVER", "TestServer",
			"user", "", "NF-CLIENT", "4a32243876385c4a" + zeros, "bbcd44a007402ecbdf1b462ea1de6c073097db28db719a6a",
		},
		{
			"[MS-POP3] 4.2",
			"TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAFASgKAAAADw==",
			`TlRMTVNTUAACAAAAFAAUADgAAAAFgoqieUWd5ES4Bi0AAAAAAAAAAGQAZABMAA
			AABQLODgAAAA9UAEUAUwBUAFMARQBSAFYARQBSAAIAFABUAEUAUwBUAFMARQBSAF
			YARQBSAAEAFABUAEUAUwBUAFMARQBSAFYARQBSAAQAFABUAGUAcwB0AFMAZQByAH
			YAZQByAAMAFABUAGUAcwB0AFMAZQByAHYAZQByAAAAAAA=`,
			`TlRMTVNTUAADAAAAGAAYAGIAAAAYABgAegAAAAAAAABIAAAACAAIAEgAAAASABIA
			UAAAAAAAAACSAAAABYKIogUBKAoAAAAPdQBzAGUAcgBOAEYALQBDAEwASQBFAE4A
			VAAOarJ6lZ5ZNwAAAAAAAAAAAAAAAAAAAACD9mD8jmWs4FkZe59/nNb1cF2HkL0C
			GZw=`,
			0xa2088207, "79459de444b8062d", "TESTSERVER", "TestServer",
			"user", "", "NF-CLIENT", "0e6ab27a959e5937" + zeros, "83f660fc8e65ace059197b9f7f9cd6f5705d8790bd02199c",
		},
		{
			"[MS-SMTPNTLM] 4.1",
			"TlRMTVNTUAABAAAAt4II4gAAAAAAAAAAAAAAAAAAAAAFAs4OAAAADw==",
			`TlRMTVNTUAACAAAAFgAWADgAAAA1goriZt7rI6Uq/ccAAAAAAAAAAGwAbABOAAA
			ABQLODgAAAA9FAFgAQwBIAC0AQwBMAEkALQA2ADYAAgAWAEUAWABDAEgALQBDAEwASQ
			AtADYANgABABYARQBYAEMASAAtAEMATABJAC0ANgA2AAQAFgBlAHgAYwBoAC0AYwBsA
			GkALQA2ADYAAwAWAGUAeABjAGgALQBjAGwAaQAtADYANgAAAAAA`,
			`TlRMTVNTUAADAAAAGAAYAHwAAAAYABgAlAAAABYAFgBIAAAACAAIAF4AAAAWABYAZgA
			AABAAEACsAAAANYKI4gUCzg4AAAAPZQB4AGMAaAAtAGMAbABpAC0ANgA2AHQAZQBzAH
			QARQBYAEMASAAtAEMATABJAC0ANgA2AAZKkK42dvN2AAAAAAAAAAAAAAAAAAAAABvqC
			ZdJZ0NxuuMaNT5PPn5aZ6imuk9cPZkPUjEYNIRezkCGmTwS5G0=`,
			0xe20882b7, "66deeb23a52afdc7", "EXCH-CLI-66", "exch-cli-66",
			"test", "exch-cli-66", "EXCH-CLI-66", "064a90ae3676f376" + zeros, "1bea099749674371bae31a353e4f3e7e5a67a8a6ba4f5c3d",
		},
		{
			"[MS-SMTPNTLM] 4.2",
			"TlRMTVNTUAABAAAAt4II4gAAAAAAAAAAAAAAAAAAAAAFAs4OAAAADw==",
			`TlRMTVNTUAACAAAAFgAWADgAAAA1goriYo7ENUsXagIAAAAAAAAAAGwAbABOAAA
			ABQLODgAAAA9FAFgAQwBIAC0AQwBMAEkALQA2ADYAAgAWAEUAWABDAEgALQBDAEwASQ
			AtADYANgABABYARQBYAEMASAAtAEMATABJAC0ANgA2AAQAFgBlAHgAYwBoAC0AYwBsA
			GkALQA2ADYAAwAWAGUAeABjAGgALQBjAGwAaQAtADYANgAAAAAA`,
			`TlRMTVNTUAADAAAAGAAYAHwAAAAYABgAlAAAABYAFgBIAAAACAAIAF4AAAAWABYAZgAAABAAEACsAAAANYKI4gUCzg4AAAAP
			ZQB4AGMAaAAtAGMAbABpAC0ANgA2AHQAZQBzAHQARQBYAEMASAAtAEMATABJAC0ANgA2AIqeV65hhASwAAAAAAAAAAAAAAAA
			AAAAAHZHDVfwTU5ci0RY04eRmWy0/VWZfIfjsqdUu2WmxYUKy83PyyxzbA8=`,
			0xe20882b7, "628ec4354b176a02", "EXCH-CLI-66", "exch-cli-66",
			"test", "exch-cli-66", "EXCH-CLI-66", "8a9e57ae618404b0" + zeros, "76470d57f04d4e5c8b4458d38791996cb4fd55997c87e3b2",
		},
	} {
		flags, err := parseNegotiate(unbase64(t, v.negotiate))
		if err != nil || flags != v.flags {
			t.Errorf("%s: negotiate %x, %v", v.section, flags, err)
		}
		c, err := parseChallenge(unbase64(t, v.challenge))
		if err != nil || !bytes.Equal(c.nonce[:], unhex(t, v.nonce)) || !bytes.Equal(c.target, encodeUTF16(v.target)) ||
			!bytes.Equal(pair(c.info, avDNSComputer), encodeUTF16(v.dns)) || pair(c.info, avTime) != nil {
			t.Errorf("%s: challenge %+v, %v", v.section, c, err)
		}
		r, err := exchanged(t, c.nonce[:]).Authenticate(unbase64(t, v.authenticate))
		if err != nil {
			t.Errorf("%s: %v", v.section, err)
			continue
		}
		if r.User != v.user || r.Domain != v.domain || !bytes.Equal(r.workstation, encodeUTF16(v.workstation)) || r.Version != V1Session ||
			!bytes.Equal(r.lm, unhex(t, v.lm)) || !bytes.Equal(r.nt, unhex(t, v.nt)) {
			t.Errorf("%s: %+v", v.section, r)
		}
	}
}

const zeros = "00000000000000000000000000000000"
