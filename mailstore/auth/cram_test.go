package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"regexp"
	"testing"
	"time"
)

func TestCRAMMD5(t *testing.T) {
	// The example of RFC 2195 §2.
	const challenge, password = "<1896.697170952@postoffice.reston.mci.net>", "tanstaaftanstaaf"
	const digest = "b913a602c7eda7a495b4e6e7334d3890"
	for name, tt := range map[string]struct {
		secrets  *Secrets
		response string
		want     error
		had      bool
	}{
		"example":        {&Secrets{CRAM: cramState(password)}, "tim " + digest, nil, true},
		"from the clear": {&Secrets{Clear: password}, "tim " + digest, nil, true},
		"upper case":     {&Secrets{Clear: password}, "tim B913A602C7EDA7A495B4E6E7334D3890", nil, true},
		"wrong password": {&Secrets{CRAM: cramState("other"), Clear: password}, "tim " + digest, ErrInvalid, true},
		"wrong digest":   {secretsOf(password), "tim 00000000000000000000000000000000", ErrInvalid, true},
		"no such secret": {&Secrets{NT: ntHash(password)}, "tim " + digest, ErrInvalid, false},
		"unknown user":   {secretsOf(password), "tom " + digest, ErrInvalid, false},
		"no user":        {secretsOf(password), " " + digest, ErrMalformed, false},
		"no space":       {secretsOf(password), digest, ErrMalformed, false},
		"short digest":   {secretsOf(password), "tim " + digest[:30], ErrMalformed, false},
		"no hexadecimal": {secretsOf(password), "tim x913a602c7eda7a495b4e6e7334d3890", ErrMalformed, false},
		"empty":          {secretsOf(password), "", ErrMalformed, false},
		"too long":       {secretsOf(password), string(make([]byte, maxResponse)) + " " + digest, ErrMalformed, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{user: "tim", secrets: tt.secrets}
			s := newCRAMMD5(challenge, j.check)
			if c, done, err := s.Next(nil); string(c) != challenge || done || err != nil {
				t.Fatalf("%q %v %v", c, done, err)
			}
			_, done, err := s.Next([]byte(tt.response))
			if !errors.Is(err, tt.want) || done != (tt.want == nil) || j.had != tt.had {
				t.Errorf("done %v, had %v, %v", done, j.had, err)
			}
			mustBeOver(t, s)
		})
	}
	if _, done, err := newCRAMMD5(challenge, nil).Next([]byte("tim " + digest)); done || !errors.Is(err, ErrMalformed) {
		t.Errorf("initial response: %v %v", done, err)
	}
}

// A user name may contain a space, and old programs send passwords in Windows-1252.
func TestCRAMMD5OldClient(t *testing.T) {
	mac := hmac.New(md5.New, []byte("Gr\xfc\xdfe"))
	mac.Write([]byte("<1@x>"))
	j := &judge{user: "old tim", secrets: &Secrets{Clear: "Grüße"}}
	_, done, err := talk(newCRAMMD5("<1@x>", j.check), nil, []byte("old tim "+hex.EncodeToString(mac.Sum(nil))))
	if !done || err != nil {
		t.Error(done, err)
	}
}

func TestAPOP(t *testing.T) {
	// The example of RFC 1939 §7.
	const stamp, digest = "<1896.697170952@dbc.mtview.ca.us>", "c4c9334bac560ecc979e58001b3e22fb"
	p, err := apopProof(stamp, digest)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		secrets    *Secrets
		had, right bool
	}{
		"example":      {&Secrets{Clear: "tanstaaf"}, true, true},
		"wrong":        {&Secrets{Clear: "tanstaa"}, true, false},
		"unknown user": {nil, false, false},
		"no clear":     {&Secrets{CRAM: cramState("tanstaaf")}, false, false},
	} {
		if had, right := p(tt.secrets); had != tt.had || right != tt.right {
			t.Errorf("%s: %v %v", name, had, right)
		}
	}
	old := md5.Sum([]byte(stamp + "Gr\xfc\xdfe"))
	if p, err = apopProof(stamp, hex.EncodeToString(old[:])); err != nil {
		t.Fatal(err)
	}
	if _, right := p(&Secrets{Clear: "Grüße"}); !right {
		t.Error("the password in the Windows code page")
	}
	for _, bad := range []string{"", "c4c9", digest + "00", "z4c9334bac560ecc979e58001b3e22fb"} {
		if _, err := apopProof(stamp, bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestStamp(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	a, b := newStamp("mail.office.example", now), newStamp("mail.office.example", now)
	if form := regexp.MustCompile(`^<[0-9A-Z]{26}\.1700000000@mail\.office\.example>$`); !form.MatchString(a) || a == b {
		t.Errorf("%s %s", a, b)
	}
}
