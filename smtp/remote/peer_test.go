package remote

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// behaviour describes how a peer serves. The zero value is a correct server without extensions.
type behaviour struct {
	greeting string   // "" means a positive one
	offers   []string // EHLO keywords
	inTLS    []string // EHLO keywords inside TLS; nil: offers
	// answers replace the positive reply to commands with the given prefix, and to an empty line for
	// "". Answers that start with
	// "!" are actions: "!close", "!hang", "!drip".
	answers  map[string]string
	final    []string // replies to the message; nil means one 250
	tls      *tls.Config
	inject   string // sent after the 220 to STARTTLS
	early    string // sent after the first body line, followed by a close
	lf       bool   // replies end with a bare LF
	implicit bool
}

// peer is a server in the test process that records what it receives.
type peer struct {
	behaviour
	mu       sync.Mutex
	heard    []string // commands; guarded by mu
	messages []string // without stuffing; guarded by mu
	conns    int      // guarded by mu
	running  sync.WaitGroup
}

func (p *peer) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, line)
}

// said returns the received commands on one line.
func (p *peer) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.heard, " | ")
}

// dial is for Options.Dial.
func (p *peer) dial() net.Conn {
	p.mu.Lock()
	p.conns++
	p.mu.Unlock()
	client, server := net.Pipe()
	if p.tls != nil {
		client, server = loopback() // both sides of TLS may write at once
	}
	p.running.Go(func() {
		defer server.Close()
		p.serve(server)
	})
	return client
}

func loopback() (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		panic(err)
	}
	if server, err = l.Accept(); err != nil {
		panic(err)
	}
	return client, server
}

type peerConn struct {
	net.Conn
	in *bufio.Reader
	p  *peer
}

func (c *peerConn) say(reply string) bool {
	switch {
	case reply == "!close":
		return false
	case reply == "!hang":
		io.Copy(io.Discard, c.Conn)
		return false
	case reply == "!drip":
		for {
			if _, err := c.Conn.Write([]byte("2")); err != nil {
				return false
			}
			time.Sleep(time.Minute)
		}
	case strings.HasPrefix(reply, "!stop "): // read no more
		c.say(reply[6:])
		time.Sleep(time.Hour)
		return false
	case strings.HasPrefix(reply, "!last "):
		c.say(reply[6:])
		return false
	}
	end := "\r\n"
	if c.p.lf {
		end = "\n"
	}
	_, err := io.WriteString(c.Conn, strings.ReplaceAll(reply, "\n", end)+end)
	return err == nil
}

func (p *peer) serve(nc net.Conn) {
	c := &peerConn{nc, bufio.NewReaderSize(nc, 64<<10), p}
	offers := p.offers
	if p.implicit {
		c.Conn = tls.Server(nc, p.tls)
		c.in.Reset(c.Conn)
	}
	greeting := p.greeting
	if greeting == "" {
		greeting = "220 peer.example ready"
	}
	if !c.say(greeting) {
		return
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		p.note(line)
		if !c.answer(line, &offers) {
			return
		}
	}
}

func (c *peerConn) answer(line string, offers *[]string) bool {
	for prefix, reply := range c.p.answers {
		if strings.HasPrefix(line, prefix) && (prefix != "" || line == "") {
			if !c.say(reply) {
				return false
			}
			if strings.HasPrefix(reply, "354") {
				return c.body()
			}
			return true
		}
	}
	verb, _, _ := strings.Cut(line, " ")
	switch verb {
	case "EHLO", "LHLO":
		reply := "250-peer.example"
		for _, offer := range *offers {
			reply += "\n250-" + offer
		}
		return c.say(reply + "\n250 HELP")
	case "STARTTLS":
		if !c.say("220 go on" + c.p.inject) {
			return false
		}
		tc := tls.Server(c.Conn, c.p.tls)
		if err := tc.Handshake(); err != nil {
			return false
		}
		c.Conn = tc
		c.in.Reset(tc)
		if c.p.inTLS != nil {
			*offers = c.p.inTLS
		}
		return true
	case "DATA":
		return c.say("354 go on") && c.body()
	case "QUIT":
		c.say("221 bye")
		return false
	case "RSET", "HELO":
		return c.say("250 ok")
	}
	return c.say("250 2.1.0 ok")
}

func (c *peerConn) body() bool {
	var text strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return false
		}
		if c.p.early != "" {
			c.say(c.p.early)
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
	c.p.mu.Lock()
	c.p.messages = append(c.p.messages, text.String())
	c.p.mu.Unlock()
	if c.p.final == nil {
		return c.say("250 2.0.0 queued")
	}
	for _, reply := range c.p.final {
		if !c.say(reply) {
			return false
		}
	}
	return true
}

// net is a network of peers by address.
type network map[string]*peer

var errRefused = errors.New("refused")

func (n network) dial(_ context.Context, _, address string) (net.Conn, error) {
	if p := n[address]; p != nil {
		return p.dial(), nil
	}
	return nil, &net.OpError{Op: "dial", Err: errRefused}
}

// via returns a Remote that sends every message to one smart host, 192.0.2.1.
func via(t *testing.T, p *peer, change func(*route.Route, *Options)) *Remote {
	t.Helper()
	host, err := route.ParseHost("[192.0.2.1]")
	if err != nil {
		t.Fatal(err)
	}
	table := &route.Table{Default: route.Route{Name: "default", SmartHost: []route.Host{host}}}
	opts := Options{
		Routes: func() *route.Table { return table }, Hostname: "us.example",
		Dial: network{"192.0.2.1:25": p, "192.0.2.1:24": p, "192.0.2.1:465": p}.dial,
	}
	if change != nil {
		change(&table.Default, &opts)
	}
	r := New(opts)
	t.Cleanup(func() {
		r.Close()
		p.running.Wait()
	})
	return r
}

const letter = "From: a@us.example\r\nSubject: x\r\n\r\nhello\r\n.dot\r\n..\r\n.\r\nend\r\n"

func attempt(text string, to ...string) smtp.Attempt {
	a := smtp.Attempt{
		ID: "1", Size: int64(len(text)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	}
	a.Envelope.From, _ = addr.Parse("a@us.example")
	for _, s := range to {
		address, err := addr.Parse(s)
		if err != nil {
			panic(err)
		}
		a.Envelope.To = append(a.Envelope.To, smtp.Recipient{Address: address})
		a.Domain = address.Domain
	}
	return a
}

// summary describes an outcome in a few words.
func summary(o smtp.Outcome) string {
	var words []string
	if o.Unreachable {
		words = append(words, "unreachable")
	}
	for _, r := range o.Results {
		e := r.Reply.Error()
		word := r.Status.String() + " " + e[:strings.Index(e[4:], " ")+4]
		if r.MTA == "" {
			word += " ours"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// certificate returns a pool with a CA, and a server certificate signed by it.
func certificate(t testing.TB, names ...string) (*x509.CertPool, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	cert, _ := x509.ParseCertificate(der)
	pool.AddCert(cert)
	return pool, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}}}
}
