package auth

import (
	"context"
	"crypto/des"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth/ntlm"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// newMechanisms is an Authenticator with two mailboxes. anna has stored all secrets of the password
// "secret", and bert none.
func newMechanisms(t *testing.T) (*Authenticator, *accounts, *strings.Builder) {
	t.Helper()
	a, boxes, _ := newTest(t)
	a.Secrets = NewSecretStore(newTestKey(t), Rules{Store: directory.SecretKinds()})
	log := new(strings.Builder)
	a.Log = newLog(log)
	boxes.set("anna", cheap("secret"), false)
	boxes.set("bert", cheap("secret"), false)
	box := boxes.boxes["anna"]
	var s Secrets
	s.add("secret", directory.SecretKinds())
	sealed, err := a.Secrets.key.Load().Seal(s)
	if err != nil {
		t.Fatal(err)
	}
	box.Account.Secrets = sealed
	boxes.boxes["anna"] = box
	boxes.boxes[`OFFICE\anna`] = box
	a.SetSettings(Settings{Hostname: "mail.office.example", Domain: "office.example", ChallengeNetworks: []netip.Prefix{private}})
	return a, boxes, log
}

func newTestKey(t *testing.T) *SecretKey {
	t.Helper()
	return NewSecretKey(filepath.Join(t.TempDir(), "secrets.key"))
}

// answer returns the client's response to a challenge.
type answer func(challenge []byte) []byte

func cramClient(user, password string) []answer {
	return []answer{func(challenge []byte) []byte {
		mac := hmac.New(md5.New, []byte(password))
		mac.Write(challenge)
		return []byte(user + " " + hex.EncodeToString(mac.Sum(nil)))
	}}
}

func ntlmClient(user, domain, password string) []answer {
	c := ntlm.Client{User: user, Domain: domain, Password: password}
	return []answer{
		func([]byte) []byte { return c.Negotiate() },
		func(challenge []byte) []byte {
			response, err := c.Authenticate(challenge)
			if err != nil {
				panic(err)
			}
			return response
		},
	}
}

func scramClient(user, password string) []answer {
	bare := "n=" + user + ",r=abcdefgh"
	return []answer{
		func([]byte) []byte { return []byte("n,," + bare) },
		func(challenge []byte) []byte {
			fields := strings.Split(string(challenge), ",")
			salt, err := base64.StdEncoding.DecodeString(fields[1][2:])
			if err != nil {
				panic(err)
			}
			var iterations int
			fmt.Sscanf(fields[2], "i=%d", &iterations)
			k := deriveSCRAM(password, salt, iterations)
			without := "c=biws," + fields[0]
			// deriveSCRAM does not keep the client key, so it is made here.
			return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(scramProof(password, salt, iterations, k, bare+","+string(challenge)+","+without)))
		},
		func([]byte) []byte { return []byte{} },
	}
}

// lead runs an exchange to its end.
func lead(a *Authenticator, c Client, mechanism string, client []answer) (Principal, error) {
	e, err := a.Begin(context.Background(), c, mechanism)
	if err != nil {
		return Principal{}, err
	}
	challenge, done, err := e.Next(nil)
	for _, say := range client {
		if done || err != nil {
			break
		}
		challenge, done, err = e.Next(say(challenge))
	}
	if err == nil && !done {
		err = errors.New("the exchange has not ended")
	}
	return e.Principal, err
}

func plain(user, password string) []answer {
	return []answer{func([]byte) []byte { return []byte("\x00" + user + "\x00" + password) }}
}

func clients(user, password string) map[string][]answer {
	return map[string][]answer{
		PLAIN: plain(user, password), CRAMMD5: cramClient(user, password), NTLM: ntlmClient(user, "", password), SCRAMSHA: scramClient(user, password),
	}
}

func TestMechanisms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, log := newMechanisms(t)
		anna := addr.Address{Local: "anna", Domain: "office.example"}
		for mechanism, client := range clients("anna", "secret") {
			start := time.Now()
			p, err := lead(a, Client{Remote: here}, mechanism, client)
			if err != nil || p.Address != anna || time.Since(start) != 0 {
				t.Errorf("%s: %+v, %v after %v", mechanism, p, err, time.Since(start))
			}
		}
		if p, err := lead(a, Client{Remote: here}, NTLM, ntlmClient("anna", "OFFICE", "secret")); err != nil || p.Address != anna {
			t.Errorf("NTLM with a domain: %+v, %v", p, err)
		}
		if strings.Contains(log.String(), "secret\"") || strings.Contains(log.String(), "password=") {
			t.Errorf("the log tells secrets: %s", log)
		}
	})
}

// For every mechanism and every mistake, a failure looks the same and takes the same time.
func TestMechanismsFailAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, who := range []struct{ user, password, reason string }{
			{"anna", "wrong", "wrong password"},
			{"nobody", "secret", "no such user"},
			{"bert", "secret", "has no secret"},
		} {
			for mechanism, client := range clients(who.user, who.password) {
				a, _, log := newMechanisms(t)
				if mechanism == PLAIN && who.user == "bert" {
					continue
				}
				start := time.Now()
				p, err := lead(a, Client{Remote: here}, mechanism, client)
				if took := time.Since(start); took != 500*time.Millisecond || !errors.Is(err, ErrInvalid) || p != (Principal{}) {
					t.Errorf("%s as %s: %+v, %v after %v", mechanism, who.user, p, err, took)
				}
				if !strings.Contains(log.String(), who.reason) || !strings.Contains(log.String(), "mechanism="+mechanism) && mechanism != PLAIN {
					t.Errorf("%s as %s: the log says %s", mechanism, who.user, log)
				}
			}
		}
	})
}

func TestAPOPLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, _ := newMechanisms(t)
		stamp := a.Stamp()
		digest := func(password string) string {
			sum := md5.Sum([]byte(stamp + password))
			return hex.EncodeToString(sum[:])
		}
		if p, err := a.APOP(t.Context(), Client{Remote: here}, stamp, "anna", digest("secret")); err != nil || p.Address.Local != "anna" {
			t.Errorf("%+v, %v", p, err)
		}
		for _, c := range []struct{ user, password string }{{"anna", "wrong"}, {"nobody", "secret"}, {"bert", "secret"}} {
			if _, err := a.APOP(t.Context(), Client{Remote: there}, stamp, c.user, digest(c.password)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", c.user, err)
			}
		}
		if _, err := a.APOP(t.Context(), Client{Remote: here}, stamp, "anna", "no digest"); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v", err)
		}
		box := boxes.boxes["anna"]
		box.Locked = true
		boxes.boxes["anna"] = box
		if _, err := a.APOP(t.Context(), Client{Remote: here}, stamp, "anna", digest("secret")); !errors.Is(err, ErrLocked) {
			t.Errorf("a locked mailbox: %v", err)
		}
	})
}

func TestNTLMVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, log := newMechanisms(t)
		v1 := ntlmClient("anna", "", "secret")
		v1[1] = func(challenge []byte) []byte { return oldResponse("anna", ntHash("secret"), challenge) }
		if _, err := lead(a, Client{Remote: here}, NTLM, v1); !errors.Is(err, ErrInvalid) || !strings.Contains(log.String(), "auth.ntlm_v1") {
			t.Errorf("NTLMv1 where it is not allowed: %v, %s", err, log)
		}
		a.SetSettings(Settings{Hostname: "mail.office.example", NTLMv1: true})
		if p, err := lead(a, Client{Remote: there}, NTLM, v1); err != nil || p.Address.Local != "anna" {
			t.Errorf("NTLMv1 where it is allowed: %+v, %v", p, err)
		}
	})
}

func TestOffers(t *testing.T) {
	a, boxes, _ := newMechanisms(t)
	certified := ""
	a.Certificate = func(*tls.ConnectionState) (string, string, bool) { return certified, "f", certified != "" }
	offers := func(s Settings, c Client) string {
		a.SetSettings(s)
		a.stored.next = time.Time{}
		all := a.Offers(c)
		if a.Offered(c, APOP) {
			all = append(all, APOP)
		}
		return strings.Join(all, " ")
	}
	clear, crypted := Client{Remote: here}, Client{Remote: here, TLS: new(tls.ConnectionState)}
	for _, tt := range []struct {
		name string
		s    Settings
		c    Client
		want string
	}{
		{"some mailbox has none", Settings{}, clear, "PLAIN LOGIN"},
		{"the same in a named network", Settings{ChallengeNetworks: []netip.Prefix{private}}, clear, "SCRAM-SHA-256 NTLM CRAM-MD5 PLAIN LOGIN APOP"},
		{"a setting", Settings{Mechanisms: []string{PLAIN, NTLM}, ChallengeNetworks: []netip.Prefix{private}}, clear, "NTLM PLAIN"},
		{"SPA only", Settings{RequireSPA: true}, crypted, "NTLM"},
	} {
		if got := offers(tt.s, tt.c); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	certified = "anna@office.example"
	if got := offers(Settings{}, crypted); !strings.Contains(got, EXTERNAL) {
		t.Errorf("with a certificate: %s", got)
	}
	if got := offers(Settings{}, clear); strings.Contains(got, EXTERNAL) {
		t.Errorf("without TLS: %s", got)
	}
	boxes.mu.Lock()
	delete(boxes.boxes, "bert")
	boxes.mu.Unlock()
	if got := offers(Settings{}, clear); got != "SCRAM-SHA-256 NTLM CRAM-MD5 PLAIN LOGIN APOP" {
		t.Errorf("where every mailbox has stored all: %s", got)
	}
	boxes.mu.Lock()
	for name, box := range boxes.boxes {
		box.Account.Secrets = directory.Secrets{}
		boxes.boxes[name] = box
	}
	boxes.mu.Unlock()
	if got := offers(Settings{}, clear); got != "PLAIN LOGIN" {
		t.Errorf("where nobody has stored anything: %s", got)
	}
	for _, m := range []string{NTLM, APOP, "GSSAPI", ""} {
		if _, err := a.Begin(t.Context(), clear, m); !errors.Is(err, ErrNotOffered) {
			t.Errorf("%s: %v", m, err)
		}
	}
}

func TestSecretsAreFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, _ := newMechanisms(t)
		bert := func() *directory.Account { box := boxes.boxes["bert"]; return &box.Account }
		if _, err := try(a, here, "bert", "wrong"); !errors.Is(err, ErrInvalid) || bert().Secrets.Has(directory.SecretSPA) {
			t.Errorf("%v, %v", err, bert().Secrets.Kinds)
		}
		if _, err := try(a, here, "bert", "secret"); err != nil || !slices.Equal(bert().Secrets.Kinds, directory.SecretKinds()) {
			t.Fatalf("%v, %v", err, bert().Secrets.Kinds)
		}
		for mechanism, client := range clients("bert", "secret") {
			if _, err := lead(a, Client{Remote: there}, mechanism, client); err != nil {
				t.Errorf("%s: %v", mechanism, err)
			}
		}
		// With another key no secret can be opened, until the next login with a password.
		a.Secrets.SetKey(newTestKey(t))
		if _, err := lead(a, Client{Remote: there}, NTLM, ntlmClient("bert", "", "secret")); !errors.Is(err, ErrInvalid) {
			t.Errorf("NTLM with a lost key: %v", err)
		}
		if _, err := try(a, there, "bert", "secret"); err != nil {
			t.Fatal(err)
		}
		if _, err := lead(a, Client{Remote: there}, NTLM, ntlmClient("bert", "", "secret")); err != nil {
			t.Errorf("NTLM after a login with the password: %v", err)
		}
		// A kind that is no longer to be stored is ignored.
		a.Secrets.SetRules(Rules{Store: []directory.SecretKind{directory.SecretSCRAM}})
		if _, err := lead(a, Client{Remote: there}, NTLM, ntlmClient("bert", "", "secret")); !errors.Is(err, ErrInvalid) {
			t.Errorf("NTLM with a secret that is not permitted any more: %v", err)
		}
	})
}

// backend is a test double for an LDAP directory.
type backend struct {
	password string
	err      error
	asked    atomic.Int32
}

func (b *backend) Check(_ context.Context, login, mailbox addr.Address, password string) error {
	b.asked.Add(1)
	switch {
	case b.err != nil:
		return b.err
	case mailbox.IsZero(), password != b.password:
		return ErrInvalid
	}
	return nil
}

func TestBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, _ := newMechanisms(t)
		elsewhere := &backend{password: "theirs"}
		a.Backend = func(m directory.Method) Backend {
			if m != "directory:corp" {
				return nil
			}
			return elsewhere
		}
		boxes.set("carl", cheap("secret"), false)
		carl := boxes.boxes["carl"]
		carl.Method = "directory:corp"
		boxes.boxes["carl"] = carl
		fresh := carl
		fresh.New, fresh.Address.Local = true, "dora"
		boxes.boxes["dora"] = fresh

		if took, err := try(a, here, "carl", "theirs"); took != 0 || err != nil {
			t.Errorf("after %v: %v", took, err)
		}
		if took, err := try(a, here, "carl", "secret"); took != 500*time.Millisecond || !errors.Is(err, ErrInvalid) {
			t.Errorf("the password of the file, after %v: %v", took, err)
		}
		if _, err := try(a, here, "dora", "theirs"); err != nil || len(boxes.made) != 1 {
			t.Errorf("the first login: %v, made %v", err, boxes.made)
		}
		if len(boxes.boxes["carl"].Account.Secrets.Kinds) != 0 {
			t.Error("secrets of a password that is kept elsewhere")
		}
		elsewhere.err = errors.New("down")
		if took, err := try(a, there, "carl", "theirs"); took != 0 || !errors.Is(err, ErrTemporary) {
			t.Errorf("down, after %v: %v", took, err)
		}
		carl.Method = directory.BySystem
		boxes.boxes["carl"] = carl
		if _, err := try(a, there, "carl", "theirs"); !errors.Is(err, ErrTemporary) {
			t.Errorf("a method that is not configured: %v", err)
		}
	})
}

func TestExternal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, _ := newMechanisms(t)
		a.Certificate = func(*tls.ConnectionState) (string, string, bool) { return "anna", "f1", true }
		crypted := Client{Remote: here, TLS: new(tls.ConnectionState)}
		say := func(authzid string) []answer { return []answer{func([]byte) []byte { return []byte(authzid) }} }
		certified := func(cert ...directory.ClientCert) {
			box := boxes.boxes["anna"]
			box.Account.ClientCerts = cert
			boxes.boxes["anna"] = box
		}
		if _, err := lead(a, crypted, EXTERNAL, say("")); !errors.Is(err, ErrInvalid) {
			t.Errorf("a certificate that is not the mailbox's: %v", err)
		}
		certified(directory.ClientCert{Fingerprint: "f1", Expires: time.Now().Add(time.Hour)})
		if p, err := lead(a, crypted, EXTERNAL, say("")); err != nil || p.Address.Local != "anna" {
			t.Errorf("%+v, %v", p, err)
		}
		if _, err := lead(a, crypted, EXTERNAL, say("boss")); !errors.Is(err, ErrInvalid) {
			t.Errorf("acting for another: %v", err)
		}
		certified(directory.ClientCert{Fingerprint: "f1", Expires: time.Now().Add(-time.Hour)})
		if _, err := lead(a, crypted, EXTERNAL, say("")); !errors.Is(err, ErrInvalid) {
			t.Errorf("an old certificate: %v", err)
		}
	})
}

func TestVault(t *testing.T) {
	v := newTestKey(t)
	var s Secrets
	s.add("secret", directory.SecretKinds())
	sealed, err := v.Seal(s)
	if err != nil || strings.Contains(string(sealed.Sealed), "secret") {
		t.Fatal(err)
	}
	again := NewSecretKey(v.file) // another process
	if got, err := again.Open(sealed); err != nil || got.Clear != "secret" || !hmac.Equal(got.NT, s.NT) {
		t.Errorf("%v", err)
	}
	if other, err := v.Seal(s); err != nil || string(other.Sealed) == string(sealed.Sealed) {
		t.Error("two seals are alike: the nonce is not random")
	}
	if info, err := os.Stat(v.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	longer := s
	longer.Clear += " and more"
	if other, err := v.Seal(longer); err != nil || len(other.Sealed) != len(sealed.Sealed) {
		t.Errorf("the length of a password shows: %d and %d octets", len(other.Sealed), len(sealed.Sealed))
	}
	bad := sealed
	bad.Sealed = slices.Clone(sealed.Sealed)
	bad.Sealed[len(bad.Sealed)-1] ^= 1
	short := directory.Secrets{Sealed: []byte("short")}
	for name, what := range map[string]directory.Secrets{"damaged": bad, "short": short} {
		if _, err := v.Open(what); !errors.Is(err, ErrSecretKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newTestKey(t).Open(sealed); !errors.Is(err, ErrSecretKey) {
		t.Errorf("without the key: %v", err)
	}
	if err := os.WriteFile(v.file+".short", []byte("too short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(v.file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSecretKey(v.file).Open(sealed); !errors.Is(err, ErrSecretKey) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key for others to read: %v", err)
	}
	for _, file := range []string{v.file + ".short", filepath.Join(v.file, "below a file"), "/nowhere/at/all"} {
		if _, err := NewSecretKey(file).Seal(s); !errors.Is(err, ErrSecretKey) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if empty, err := v.Seal(Secrets{}); err != nil || empty.Sealed != nil {
		t.Errorf("nothing, sealed: %+v, %v", empty, err)
	}
}

func TestPasswordRules(t *testing.T) {
	anna := addr.Address{Local: "anna.smith", Domain: "office.example"}
	r := Rules{
		MinLength: 8,
		Common:    func(lower string) bool { return lower == "letmein123" },
		Denied:    func(lower string) bool { return lower == "office.example" },
	}
	for password, rule := range map[string]string{
		"good enough": "", "short": "min_length", "äöüäöüä": "min_length", "LetMeIn123": "deny_common", "Office.Example": "deny_list",
		"Anna.Smith": "user_name", "anna.smith@office.example": "user_name", "\x00\x00\x00\x00\x00\x00\x00\x00": "-", "": "-",
	} {
		err := r.Check(anna, password)
		broken, ok := errors.AsType[*RuleError](err)
		switch {
		case rule == "" && err != nil, rule != "" && !errors.Is(err, ErrPassword), ok && broken.Rule != rule, rule == "-" && ok:
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestReuseAndAge(t *testing.T) {
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	now := time.Now()
	k := NewSecretStore(newTestKey(t), Rules{Reuse: 3, MaxAge: 24 * time.Hour, Store: []directory.SecretKind{directory.SecretSPA}})
	acc := directory.Account{Created: now}
	change := func(password string) error {
		set, err := k.New(anna, acc, password, now)
		if err != nil {
			return err
		}
		return set(&acc)
	}
	for i, password := range []string{"one", "two", "three", "four", "one"} {
		if err := change(password); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	for _, password := range []string{"one", "four", "three"} {
		if err := change(password); !errors.Is(err, ErrPassword) {
			t.Errorf("%s again: %v", password, err)
		}
	}
	if !acc.Secrets.Has(directory.SecretSPA) || len(acc.History) != 2 || !fits(acc.Verifier, "one") {
		t.Errorf("%+v", acc)
	}
	if k.Expired(&acc, now.Add(23*time.Hour)) || !k.Expired(&acc, now.Add(25*time.Hour)) {
		t.Error("age")
	}
	Forget(&acc)
	if acc.Verifier != "" || acc.Secrets.Sealed != nil || acc.History != nil || k.Expired(&acc, now.Add(25*time.Hour)) {
		t.Errorf("not forgotten: %+v", acc)
	}
}

func TestSetStore(t *testing.T) {
	k := NewSecretStore(newTestKey(t), Rules{})
	acc := directory.Account{Store: []directory.SecretKind{directory.SecretSPA, directory.SecretAPOP}}
	set, err := k.New(addr.Address{Local: "anna", Domain: "office.example"}, acc, "secret", time.Now())
	if err == nil {
		err = set(&acc)
	}
	if err != nil || len(acc.Secrets.Kinds) != 2 {
		t.Fatalf("%v, %v", err, acc.Secrets.Kinds)
	}
	if err := k.SetStore(&acc, []directory.SecretKind{directory.SecretSPA, directory.SecretSCRAM}); err != nil {
		t.Fatal(err)
	}
	s, err := k.key.Load().Open(acc.Secrets)
	if err != nil || s.Clear != "" || s.NT == nil || s.SCRAM == nil || len(acc.Secrets.Kinds) != 2 {
		t.Errorf("%+v, %v: the password is not forgotten, or what was to be made of it is not there", acc.Secrets.Kinds, err)
	}
	if err := k.SetStore(&acc, []directory.SecretKind{directory.SecretAPOP}); err != nil || len(acc.Secrets.Kinds) != 0 || acc.Secrets.Sealed != nil {
		t.Errorf("%+v, %v: the password has come from nowhere", acc.Secrets.Kinds, err)
	}
}

func newLog(w *strings.Builder) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// scramProof is the client's proof (RFC 5802 §3).
func scramProof(password string, salt []byte, iterations int, k *SCRAM, message string) []byte {
	salted, _ := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	key := hmacSHA256(salted, "Client Key")
	for i, b := range hmacSHA256(k.StoredKey, message) {
		key[i] ^= b
	}
	return key
}

// oldResponse is an AUTHENTICATE message as clients older than NTLMv2 send it: three times DES over
// the challenge, with the NT hash as key.
func oldResponse(user string, hash, challenge []byte) []byte {
	key := append(slices.Clone(hash), make([]byte, 5)...)
	var response []byte
	for i := range 3 {
		part := binary.BigEndian.Uint64(append([]byte{0}, key[7*i:7*i+7]...))
		spread := make([]byte, 8) // seven bits to an octet, above the parity
		for j := range spread {
			spread[j] = byte(part>>(49-7*j)) << 1
		}
		cipher, _ := des.NewCipher(spread)
		block := make([]byte, 8)
		cipher.Encrypt(block, challenge[24:32])
		response = append(response, block...)
	}
	const head = 64
	msg := make([]byte, head)
	copy(msg, "NTLMSSP\x00\x03")
	put := func(at int, data []byte) {
		binary.LittleEndian.PutUint16(msg[at:], uint16(len(data)))
		binary.LittleEndian.PutUint16(msg[at+2:], uint16(len(data)))
		binary.LittleEndian.PutUint32(msg[at+4:], uint32(len(msg)))
		msg = append(msg, data...)
	}
	put(20, response)
	put(36, []byte(user))
	binary.LittleEndian.PutUint32(msg[60:], 0x202) // OEM, NTLM
	return msg
}

// The salt must not reveal whether a mailbox exists: it is the same for all names of an account,
// and differs between accounts.
func TestInventedSalts(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	dir := directory.New(root, directory.Options{})
	if err := dir.AddDomain("office.example"); err != nil {
		t.Fatal(err)
	}
	store := NewSecretStore(newTestKey(t), Rules{Store: directory.SecretKinds()})
	for _, user := range []string{"anna", "bert"} { // bert has nothing stored
		a := addr.Address{Local: user, Domain: "office.example"}
		account := directory.Account{}
		set, err := store.New(a, account, "secret", time.Now())
		if err == nil {
			err = set(&account)
		}
		if err != nil {
			t.Fatal(err)
		}
		if user == "bert" {
			account.Secrets = directory.Secrets{}
		}
		if _, err := dir.AddMailbox(a, account); err != nil {
			t.Fatal(err)
		}
	}
	salt := func(name string) string {
		return string(New(dir, Options{Secrets: store}).scramKeys(Client{}, name).Salt) // another Authenticator is another process
	}
	for _, user := range []string{"anna", "bert", "nobody"} {
		one := salt(user)
		for _, name := range []string{user + "@office.example", strings.ToUpper(user), `office\` + user} {
			if salt(name) != one {
				t.Errorf("%s and %s have different salts", user, name)
			}
		}
		if salt(user+"@other.example") == one || salt("x"+user) == one {
			t.Errorf("%s has the salt of others", user)
		}
	}
}

// Right logins must not extend the life of old failures.
func TestFailuresAreForgottenAmongSuccesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newMechanisms(t)
		took := func(password string) time.Duration {
			start := time.Now()
			lead(a, Client{Remote: here}, NTLM, ntlmClient("anna", "", password))
			return time.Since(start)
		}
		for range 10 {
			took("wrong")
		}
		if wait := took("secret"); wait != 8*time.Second {
			t.Fatalf("a right login after ten wrong ones took %v", wait)
		}
		for range 5 {
			time.Sleep(4 * time.Minute)
			took("secret")
		}
		if wait := took("secret"); wait != 0 {
			t.Errorf("twenty minutes after the last wrong one it took %v", wait)
		}
	})
}

// A program that supports only NTLMv1 makes no guess, however often it tries.
func TestOldProgramIsNotBanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, log := newMechanisms(t)
		a.Bans = NewBans(BanOptions{After: 5}, newLog(log))
		old := ntlmClient("anna", "", "secret")
		old[1] = func(challenge []byte) []byte { return oldResponse("anna", ntHash("secret"), challenge) }
		for range 10 {
			start := time.Now()
			if _, err := lead(a, Client{Remote: here}, NTLM, old); !errors.Is(err, ErrInvalid) || time.Since(start) != 500*time.Millisecond {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
		}
		for range 10 {
			lead(a, Client{Remote: there}, NTLM, ntlmClient("anna", "", "wrong"))
		}
		if _, banned := a.Bans.Until(here); banned {
			t.Error("banned for being old")
		}
		if _, banned := a.Bans.Until(there); !banned {
			t.Error("loginAttempt is not banned")
		}
	})
}

// Guesses wait one after the other; too many at once are refused unchecked. A password that was
// right before waits for none of them.
func TestParallelGuessesQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newMechanisms(t)
		if _, err := try(a, here, "anna", "secret"); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var judged, refused atomic.Int32
		for i := range 100 {
			wg.Go(func() {
				switch _, err := try(a, here, "anna", fmt.Sprint("guess", i)); {
				case errors.Is(err, ErrInvalid):
					judged.Add(1)
				case errors.Is(err, ErrTemporary):
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if took, err := try(a, here, "anna", "secret"); took != 0 || err != nil {
			t.Errorf("the remembered password among too many wrong ones: %v, %v", took, err)
		}
		if took, err := try(a, there, "anna", "secret"); took != 0 || err != nil {
			t.Errorf("from elsewhere: %v, %v", took, err)
		}
		wg.Wait()
		if judged.Load() != 10 || refused.Load() != 90 {
			t.Errorf("%d judged, %d refused", judged.Load(), refused.Load())
		}
		if took, err := try(a, here, "anna", "secret"); took != 0 || err != nil {
			t.Errorf("afterwards: %v, %v", took, err)
		}
	})
}

// A change during a login counts.
func TestChangesDuringALogIn(t *testing.T) {
	for name, change := range map[string]func(*directory.Mailbox){
		"another password": func(box *directory.Mailbox) { box.Account.Verifier = cheap("another") },
		"a lock":           func(box *directory.Mailbox) { box.Locked = true },
		"another mailbox":  func(box *directory.Mailbox) { box.Account.Created = time.Now() },
		"another method":   func(box *directory.Mailbox) { box.Method = directory.BySystem },
	} {
		synctest.Test(t, func(t *testing.T) {
			a, boxes, _ := newMechanisms(t)
			try(a, here, "anna", "wrong")
			try(a, here, "anna", "wrong too")
			go func() {
				time.Sleep(100 * time.Millisecond)
				boxes.mu.Lock()
				defer boxes.mu.Unlock()
				box := boxes.boxes["anna"]
				change(&box)
				boxes.boxes["anna"] = box
			}()
			if took, err := try(a, here, "anna", "secret"); err == nil || took < 500*time.Millisecond {
				t.Errorf("%s: let in after %v", name, took)
			}
		})
	}
}

func TestSourcesOfManySpellings(t *testing.T) {
	for _, name := range []string{"\uff41nna", "ANNA", `OFFICE\anna`, "\U0001d41anna@office.example", "\u24d0nna"} {
		if newSource(name, here) != newSource("anna", here) {
			t.Errorf("%q is counted apart", name)
		}
	}
}
