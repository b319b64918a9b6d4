package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
)

// The example of RFC 7677 §3.
const (
	rfcClientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	rfcServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	rfcServerFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	rfcClientFinal = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcJudge() *judge {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	return &judge{user: "user", secrets: &Secrets{SCRAM: deriveSCRAM("pencil", salt, 4096)}}
}

func TestSCRAM(t *testing.T) {
	for _, initial := range []bool{false, true} {
		j := rfcJudge()
		s := newSCRAMWithNonce(nil, false, rfcServerNonce, scramKeys(j), j.check)
		steps := []struct{ say, want string }{{rfcClientFirst, rfcServerFirst}, {rfcClientFinal, rfcServerFinal}}
		if !initial {
			if c, done, err := s.Next(nil); c == nil || len(c) != 0 || done || err != nil {
				t.Fatalf("%q %v %v", c, done, err)
			}
		}
		for _, step := range steps {
			if c, done, err := s.Next([]byte(step.say)); string(c) != step.want || done || err != nil {
				t.Fatalf("%s: %s %v %v", step.say, c, done, err)
			}
		}
		if c, done, err := s.Next([]byte{}); c != nil || !done || err != nil {
			t.Errorf("end: %q %v %v", c, done, err)
		}
		mustBeOver(t, s)
	}
}

func TestSCRAMRefusals(t *testing.T) {
	final := func(old, new string) []string {
		return []string{rfcClientFirst, strings.Replace(rfcClientFinal, old, new, 1)}
	}
	cb := &scramBinding{endPoint: []byte("hash")}
	for name, tt := range map[string]struct {
		cb   *scramBinding
		plus bool
		say  []string
		want error
		ask  int
	}{
		"wrong proof":            {say: final("p=dHzb", "p=dHzc"), want: ErrInvalid, ask: 1},
		"unknown user":           {say: []string{strings.Replace(rfcClientFirst, "user", "nobody", 1), rfcClientFinal}, want: ErrInvalid, ask: 1},
		"wrong nonce":            {say: final("fuxFI", "fuxFJ"), want: ErrMalformed},
		"nonce of the client":    {say: []string{rfcClientFirst, "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="}, want: ErrMalformed},
		"other header":           {say: final("biws", "eSws"), want: ErrInvalid},
		"no base64":              {say: final("biws", "biw"), want: ErrMalformed},
		"short proof":            {say: final("p=dHzbZapW", "p=dHzbZa"), want: ErrMalformed},
		"no proof":               {say: final(",p=", ",q="), want: ErrMalformed},
		"no channel binding":     {say: final("c=biws", "x=biws"), want: ErrMalformed},
		"words after the end":    {say: []string{rfcClientFirst, rfcClientFinal, "and"}, want: ErrMalformed, ask: 1},
		"empty":                  {say: []string{""}, want: ErrMalformed},
		"header only":            {say: []string{"n,,"}, want: ErrMalformed},
		"no nonce":               {say: []string{"n,,n=user"}, want: ErrMalformed},
		"empty nonce":            {say: []string{"n,,n=user,r="}, want: ErrMalformed},
		"control in the nonce":   {say: []string{"n,,n=user,r=a\x01"}, want: ErrMalformed},
		"mandatory extension":    {say: []string{"n,,m=x,n=user,r=abc"}, want: ErrMalformed},
		"empty name":             {say: []string{"n,,n=,r=abc"}, want: ErrMalformed},
		"bad escape":             {say: []string{"n,,n=a=2D,r=abc"}, want: ErrMalformed},
		"no UTF-8":               {say: []string{"n,,n=\xff,r=abc"}, want: ErrMalformed},
		"NUL":                    {say: []string{"n,,n=a\x00,r=abc"}, want: ErrMalformed},
		"for somebody else":      {say: []string{"n,a=boss,n=user,r=abc"}, want: ErrInvalid},
		"malformed authzid":      {say: []string{"n,boss,n=user,r=abc"}, want: ErrMalformed},
		"unknown flag":           {say: []string{"z,,n=user,r=abc"}, want: ErrMalformed},
		"too long":               {say: []string{rfcClientFirst + strings.Repeat("x", maxSCRAM)}, want: ErrMalformed},
		"no TLS, binding":        {plus: true, say: []string{"p=tls-unique,,n=user,r=abc"}, want: ErrMalformed},
		"downgrade":              {cb: cb, say: []string{"y,,n=user,r=abc"}, want: ErrInvalid},
		"plus without binding":   {cb: cb, plus: true, say: []string{rfcClientFirst}, want: ErrMalformed},
		"binding without plus":   {cb: cb, say: []string{"p=tls-server-end-point,,n=user,r=abc"}, want: ErrMalformed},
		"a binding we have not":  {cb: cb, plus: true, say: []string{"p=tls-exporter,,n=user,r=abc"}, want: ErrMalformed},
		"a binding of no type":   {cb: cb, plus: true, say: []string{"p=,,n=user,r=abc"}, want: ErrMalformed},
		"another binding's data": {cb: cb, plus: true, say: scramSay("p=tls-server-end-point,,", "n=user,r=abc", rfcServerNonce, "Hash", "pencil"), want: ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			j := rfcJudge()
			s := newSCRAMWithNonce(tt.cb, tt.plus, rfcServerNonce, scramKeys(j), j.check)
			var responses [][]byte
			for _, say := range tt.say {
				responses = append(responses, []byte(say))
			}
			if c, done, err := talk(s, responses...); c != nil || done || !errors.Is(err, tt.want) || len(j.asked) != tt.ask {
				t.Errorf("%q %v %v, asked %q", c, done, err, j.asked)
			}
			mustBeOver(t, s)
		})
	}
}

// scramSay returns the messages of a client that trusts every server, for the salt of the RFC's
// example.
func scramSay(header, bare, serverNonce, data, password string) []string {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	_, nonce, _ := strings.Cut(bare, "r=")
	serverFirst := "r=" + nonce + serverNonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	withoutProof := "c=" + base64.StdEncoding.EncodeToString([]byte(header+data)) + ",r=" + nonce + serverNonce
	salted, _ := pbkdf2.Key(sha256.New, password, salt, 4096, 32)
	key := hmacSHA256(salted, "Client Key")
	stored := sha256.Sum256(key)
	for i, b := range hmacSHA256(stored[:], bare+","+serverFirst+","+withoutProof) {
		key[i] ^= b
	}
	return []string{header + bare, withoutProof + ",p=" + base64.StdEncoding.EncodeToString(key)}
}

func TestSCRAMBindings(t *testing.T) {
	cb := &scramBinding{unique: []byte("finished"), endPoint: []byte("hash,of,it"), exporter: []byte("\x00\xff")}
	for name, tt := range map[string]struct {
		plus         bool
		header, bare string
		data         string
		user         string
	}{
		"unique":     {true, "p=tls-unique,,", "n=user,r=abc", "finished", "user"},
		"end point":  {true, "p=tls-server-end-point,,", "n=user,r=abc", "hash,of,it", "user"},
		"exporter":   {true, "p=tls-exporter,a=User,", "n=user,r=abc", "\x00\xff", "user"},
		"unable":     {false, "n,,", "n=user,r=abc", "", "user"},
		"extensions": {false, "n,,", "n=user,r=abc", "", "user"},
		"escapes":    {false, "n,a=a=2Cb=3D2C,", "n=a=2Cb=3D2C,r=abc", "", "a,b=2C"},
	} {
		t.Run(name, func(t *testing.T) {
			j := rfcJudge()
			j.user = tt.user
			say := scramSay(tt.header, tt.bare, rfcServerNonce, tt.data, "pencil")
			s := newSCRAMWithNonce(cb, tt.plus, rfcServerNonce, scramKeys(j), j.check)
			if c, done, err := talk(s, []byte(say[0]), []byte(say[1]), []byte{}); c != nil || !done || err != nil {
				t.Errorf("%q %v %v, asked %q", c, done, err, j.asked)
			}
		})
	}
}

// The password is changed between the two messages: the old one is refused, since the proof is
// compared with the present secrets.
func TestSCRAMChangedPassword(t *testing.T) {
	j := rfcJudge()
	s := newSCRAMWithNonce(nil, false, rfcServerNonce, scramKeys(j), j.check)
	if _, _, err := s.Next([]byte(rfcClientFirst)); err != nil {
		t.Fatal(err)
	}
	j.secrets = secretsOf("pen")
	if _, done, err := s.Next([]byte(rfcClientFinal)); done || !errors.Is(err, ErrInvalid) {
		t.Error(done, err)
	}
}

func TestEndPoint(t *testing.T) {
	raw := []byte("certificate")
	for alg, want := range map[x509.SignatureAlgorithm]int{
		x509.SHA1WithRSA: 32, x509.MD5WithRSA: 32, x509.SHA256WithRSA: 32, x509.ECDSAWithSHA256: 32,
		x509.ECDSAWithSHA384: 48, x509.SHA512WithRSAPSS: 64, x509.PureEd25519: 0,
	} {
		if got := endPoint(&x509.Certificate{Raw: raw, SignatureAlgorithm: alg}); len(got) != want {
			t.Errorf("%v: %x", alg, got)
		}
	}
	sum := sha256.Sum256(raw)
	if got := endPoint(&x509.Certificate{Raw: raw, SignatureAlgorithm: x509.SHA1WithRSA}); string(got) != string(sum[:]) {
		t.Errorf("%x", got)
	}
	if endPoint(nil) != nil || bindTLS(nil, nil) != nil {
		t.Error("a binding of nothing")
	}
	if bindTLS(&tls.ConnectionState{}, nil) != nil {
		t.Error("a binding of a connection that has none")
	}
}

// Both ends of a connection have the same bindings, and other connections have others.
func TestBindTLS(t *testing.T) {
	cert := selfSigned(t)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	connect := func(version uint16) (server, client *scramBinding) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version})
		c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
		failed := make(chan error, 1)
		go func() {
			err := s.Handshake()
			if err == nil {
				_, err = s.Write([]byte("x")) // so that the client reads its session ticket
			}
			failed <- err
		}()
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		forServer, forClient := s.ConnectionState(), c.ConnectionState()
		return bindTLS(&forServer, leaf), bindTLS(&forClient, forClient.PeerCertificates[0])
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s, c := connect(version)
		other, _ := connect(version)
		for _, kind := range []string{"tls-unique", "tls-exporter", "tls-server-end-point"} {
			got := s.of(kind)
			if has := kind != "tls-unique" || version == tls.VersionTLS12; (got != nil) != has || !bytes.Equal(got, c.of(kind)) {
				t.Errorf("%x %s: %x and %x", version, kind, got, c.of(kind))
			}
			if kind != "tls-server-end-point" && got != nil && bytes.Equal(got, other.of(kind)) {
				t.Errorf("%x %s: %x twice", version, kind, got)
			}
		}
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
