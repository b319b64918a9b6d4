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

// protocol describes logins in POP3 or SMTP.
type protocol struct {
	name       string // the key under [listen]
	hello      string // the command after the greeting, or ""
	more       string // prefix of a reply that contains a challenge
	done       string // prefix of the reply to a successful login
	mechanisms []mechanism
}

// mechanism is one way to log in.
type mechanism struct {
	name   string
	hashes bool // at the first login the server hashes the password
	// begin returns the first command, without CRLF.
	begin func(user, greeting string) string
	// answer returns the response to a challenge. nil means that there is never a challenge.
	answer func(user string, step int, challenge []byte) ([]byte, error)
}

func protocols() []protocol {
	userPass := mechanism{
		name: "USER", hashes: true,
		begin: func(user, _ string) string { return "USER " + user },
	}
	apop := mechanism{name: "APOP", begin: beginAPOP}
	return []protocol{
		{"pop3", "", "+ ", "+OK", append([]mechanism{userPass, apop}, saslMechanisms()...)},
		{"submission", "EHLO bench.example", "334 ", "235 ", saslMechanisms()},
	}
}

func saslMechanisms() []mechanism {
	return []mechanism{
		{name: "PLAIN", hashes: true, begin: func(user, _ string) string {
			return "AUTH PLAIN " + encode([]byte("\x00"+user+"\x00"+password))
		}},
		{"CRAM-MD5", false, always("AUTH CRAM-MD5"), answerCRAM},
		{"NTLM", false, always("AUTH NTLM " + encode(new(ntlm.Client).Negotiate())), answerNTLM},
		{"SCRAM-SHA-256", false, beginSCRAM, new(scramClient).answer},
	}
}

func always(line string) func(user, greeting string) string {
	return func(string, string) string { return line }
}

func beginSCRAM(user, _ string) string {
	return "AUTH SCRAM-SHA-256 " + encode([]byte("n,,"+scramBare(user)))
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

// scramNonce is constant, so that a recorded challenge fits; the server cannot tell.
const scramNonce = "benchbenchbench"

func scramBare(user string) string { return "n=" + user + ",r=" + scramNonce }

// scramClient caches the salted password, as RFC 5802 §5.1 allows clients to do. Its thousands of
// rounds are not part of the measurement.
type scramClient struct {
	mu           sync.Mutex
	salt, salted string // guarded by mu
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

// answer follows RFC 5802 §3, but does not check the server's signature.
func (c *scramClient) answer(user string, step int, challenge []byte) ([]byte, error) {
	if step > 0 {
		return []byte{}, nil
	}
	var nonce, salt string
	var iterations int
	fields := strings.ReplaceAll(string(challenge), ",", " ")
	if _, err := fmt.Sscanf(fields, "r=%s s=%s i=%d", &nonce, &salt, &iterations); err != nil {
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

// command sends a line and returns the last line of the reply.
func (s *session) command(line string) (string, error) {
	if _, err := io.WriteString(s, line+"\r\n"); err != nil {
		return "", err
	}
	last, err := s.read()
	if err != nil {
		return "", fmt.Errorf("after %q: %w", line, err)
	}
	return last, nil
}

// read reads a reply, which may have several lines, and returns the last one.
func (s *session) read() (string, error) {
	reply := ""
	for {
		text, err := s.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if reply += text; len(text) < 4 || text[3] != '-' {
			s.replies = append(s.replies, reply)
			return strings.TrimSuffix(text, "\r\n"), nil
		}
	}
}

// logIn runs a session from connecting to QUIT. It returns the server's replies.
func logIn(p protocol, w mechanism, address, user string) ([]string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	s := &session{Conn: conn, in: bufio.NewReaderSize(conn, 1024)}
	greeting, err := s.read()
	if err == nil && p.hello != "" {
		_, err = s.command(p.hello)
	}
	var reply string
	if err == nil {
		reply, err = s.command(w.begin(user, greeting))
	}
	if err == nil && w.name == "USER" {
		reply, err = s.command("PASS " + password)
	}
	for step := 0; err == nil && strings.HasPrefix(reply, p.more) && w.answer != nil; step++ {
		reply, err = s.respond(w, user, step, reply[len(p.more):])
	}
	if err == nil && !strings.HasPrefix(reply, p.done) {
		err = fmt.Errorf("%s %s: %s", p.name, w.name, reply)
	}
	if err == nil {
		_, err = s.command("QUIT")
	}
	return s.replies, err
}

func (s *session) respond(w mechanism, user string, step int, challenge string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return "", err
	}
	response, err := w.answer(user, step, raw)
	if err != nil {
		return "", err
	}
	return s.command(encode(response))
}
