package loginbench

import (
	"bufio"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/auth/ntlm"
)

// protocol is how POP3 or SMTP spells a log-in.
type protocol struct {
	name  string // the key under [listen]
	hello string // said after the greeting; "" for nothing
	more  string // how a reply begins that has a challenge in it
	done  string // how the reply to a log-in begins
	ways  []way
}

// way is a mechanism. What is said is a line without its end.
type way struct {
	name   string
	hashes bool // the server hashes the password, the first time
	begin  func(user, greeting string) string
	answer func(user string, step int, challenge []byte) ([]byte, error) // nil: there is never a challenge
}

func protocols() []protocol {
	userPass := way{name: "USER", hashes: true, begin: func(user, _ string) string { return "USER " + user }}
	apop := way{name: "APOP", begin: beginAPOP}
	return []protocol{
		{"pop3", "", "+ ", "+OK", append([]way{userPass, apop}, mechanisms()...)},
		{"submission", "EHLO bench.example", "334 ", "235 ", mechanisms()},
	}
}

func mechanisms() []way {
	return []way{
		{name: "PLAIN", hashes: true, begin: func(user, _ string) string {
			return "AUTH PLAIN " + encode([]byte("\x00"+user+"\x00"+password))
		}},
		{"CRAM-MD5", false, says("AUTH CRAM-MD5"), answerCRAM},
		{"NTLM", false, says("AUTH NTLM " + encode(new(ntlm.Client).Negotiate())), answerNTLM},
		{"SCRAM-SHA-256", false, func(user, _ string) string { return "AUTH SCRAM-SHA-256 " + encode([]byte("n,,"+scramBare(user))) }, new(scramClient).answer},
	}
}

func says(line string) func(user, greeting string) string {
	return func(string, string) string { return line }
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func beginAPOP(user, greeting string) string {
	stamp := greeting[strings.IndexByte(greeting, '<') : strings.IndexByte(greeting, '>')+1]
	sum := md5.Sum([]byte(stamp + password))
	return "APOP " + user + " " + hex.EncodeToString(sum[:])
}

func answerCRAM(user string, _ int, challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(password))
	mac.Write(challenge)
	return fmt.Appendf(nil, "%s %x", user, mac.Sum(nil)), nil
}

func answerNTLM(user string, _ int, challenge []byte) ([]byte, error) {
	c := ntlm.Client{User: user, Password: password, Time: time.Now()}
	return c.Authenticate(challenge)
}

// scramNonce is always the same, so that a recorded challenge fits; the server cannot tell.
const scramNonce = "benchbenchbench"

func scramBare(user string) string { return "n=" + user + ",r=" + scramNonce }

// scramClient remembers what a salt makes of the password, as RFC 5802 §5.1 lets clients do: the thousands of rounds
// are not what is measured.
type scramClient struct {
	mu           sync.Mutex
	salt, salted string // owner: mu
}

func (c *scramClient) key(salt string, iterations int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.salt == salt {
		return []byte(c.salted), nil
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		return nil, err
	}
	key, err := pbkdf2.Key(sha256.New, password, raw, iterations, sha256.Size)
	c.salt, c.salted = salt, string(key)
	return key, err
}

// answer is RFC 5802 §3, without a look at the server's signature.
func (c *scramClient) answer(user string, step int, challenge []byte) ([]byte, error) {
	if step > 0 {
		return []byte{}, nil
	}
	var nonce, salt string
	var iterations int
	if _, err := fmt.Sscanf(strings.ReplaceAll(string(challenge), ",", " "), "r=%s s=%s i=%d", &nonce, &salt, &iterations); err != nil {
		return nil, err
	}
	salted, err := c.key(salt, iterations)
	if err != nil {
		return nil, err
	}
	final := "c=biws,r=" + nonce
	key := sum256(salted, "Client Key")
	stored := sha256.Sum256(key)
	signature := sum256(stored[:], scramBare(user)+","+string(challenge)+","+final)
	for i := range key {
		key[i] ^= signature[i]
	}
	return []byte(final + ",p=" + encode(key)), nil
}

func sum256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// session is one connection.
type session struct {
	net.Conn
	in      *bufio.Reader
	replies []string // so far
}

// say says a line, unless it is "", and returns the last line of the reply.
func (s *session) say(line string, nothing bool) (string, error) {
	if !nothing {
		if _, err := io.WriteString(s, line+"\r\n"); err != nil {
			return "", err
		}
	}
	reply := ""
	for {
		text, err := s.in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("after %q: %w", line, err)
		}
		if reply += text; len(text) < 4 || text[3] != '-' {
			s.replies = append(s.replies, reply)
			return strings.TrimSuffix(text, "\r\n"), nil
		}
	}
}

// logIn is a session from connecting to QUIT; it returns what the server said.
func logIn(p protocol, w way, address, user string) ([]string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	s := &session{Conn: conn, in: bufio.NewReaderSize(conn, 1024)}
	greeting, err := s.say("", true)
	if err == nil && p.hello != "" {
		_, err = s.say(p.hello, false)
	}
	var reply string
	if err == nil {
		reply, err = s.say(w.begin(user, greeting), false)
	}
	if err == nil && w.name == "USER" {
		reply, err = s.say("PASS "+password, false)
	}
	for step := 0; err == nil && strings.HasPrefix(reply, p.more) && w.answer != nil; step++ {
		reply, err = s.respond(w, user, step, reply[len(p.more):])
	}
	if err == nil && !strings.HasPrefix(reply, p.done) {
		err = fmt.Errorf("%s %s: %s", p.name, w.name, reply)
	}
	if err == nil {
		_, err = s.say("QUIT", false)
	}
	return s.replies, err
}

func (s *session) respond(w way, user string, step int, challenge string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return "", err
	}
	response, err := w.answer(user, step, raw)
	if err != nil {
		return "", err
	}
	return s.say(encode(response), false)
}
