package selftest

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/directory"
)

// outsideDomain is a domain that is nobody's (RFC 2606): what gets through to it
// is relayed.
const outsideDomain = "relay-test.invalid"

// Trick is one way to write a sender and a recipient that has fooled servers.
type Trick struct {
	Name, From, To string // as they stand in MAIL and RCPT, paths without FROM: and TO:
	Helo           string // "": a stranger's
}

// Tricks are what an outsider tries. domain is hosted here, hostname is the
// server's name, address one of its IP addresses.
func Tricks(domain, hostname, address string) []Trick {
	out, in := "victim@"+outsideDomain, "postmaster@"+domain
	recipients := []struct{ Name, To string }{
		{"plain", "<" + out + ">"},
		{"no angle brackets", out},
		{"percent hack", "<victim%" + outsideDomain + "@" + domain + ">"},
		{"percent hack at the host", "<victim%" + outsideDomain + "@" + hostname + ">"},
		{"percent hack at the address", "<victim%" + outsideDomain + "@[" + address + "]>"},
		{"quoted", `<"` + out + `"@` + domain + ">"},
		{"quoted, no domain", `<"` + out + `">`},
		{"source route", "<@" + domain + ":" + out + ">"},
		{"bang path", "<" + outsideDomain + "!victim@" + domain + ">"},
		{"bang path, no domain", "<" + outsideDomain + "!victim>"},
		{"two at signs", "<" + out + "@" + domain + ">"},
		{"two at signs, bracketed", "<" + out + "@[" + address + "]>"},
		{"address literal", "<victim@[" + address + "]>"},
		{"sub-domain", "<victim@sub." + domain + ">"},
		{"trailing dot", "<victim@" + outsideDomain + ".>"},
	}
	senders := map[string]string{
		"": "<somebody@elsewhere.invalid>", "null sender": "<>", "forged local sender": "<" + in + ">",
		"forged host sender": "<root@" + hostname + ">", "forged literal sender": "<root@[" + address + "]>", "no domain": "<root>",
	}
	var all []Trick
	for sender, from := range senders {
		for _, t := range recipients {
			name := t.Name
			if sender != "" {
				name += ", " + sender
			}
			all = append(all, Trick{Name: name, From: from, To: t.To})
		}
	}
	for _, helo := range []string{domain, hostname, "localhost", "[" + address + "]"} {
		all = append(all, Trick{Name: "forged HELO " + helo, From: "<somebody@elsewhere.invalid>", To: "<" + out + ">", Helo: helo})
	}
	return all
}

// RelayResult is what came of all tricks at one listener.
type RelayResult struct {
	Service, Address string
	Tried            int
	Open             []string // tricks that got through
	Err              error
}

// Relay plays an outsider who has no password against every listener that takes
// mail. Nothing is sent: a recipient that is accepted is the proof. It connects
// from this machine, so a rule that trusts loopback shows as an open relay for
// whoever is here.
func Relay(ctx context.Context, office *admin.Service, report func(RelayResult)) error {
	cfg := office.Config()
	domains, err := office.Dir.Domains()
	if err != nil {
		return err
	}
	if len(domains) == 0 {
		domains = append(domains, cfg.Hostname)
	}
	var tricks []Trick
	for _, domain := range domains {
		tricks = append(tricks, Tricks(string(domain), string(cfg.Hostname), "127.0.0.1")...)
	}
	clientTLS, err := clientTLS(cfg)
	if err != nil {
		return err
	}
	t := &test{cfg: cfg, tls: clientTLS}
	for _, l := range mailListeners(cfg) {
		r := RelayResult{Service: l[0], Address: l[1]}
		for _, trick := range tricks {
			step, cancel := context.WithTimeout(ctx, stepTimeout)
			through, err := t.try(step, r.Service, r.Address, trick)
			cancel()
			if err != nil {
				r.Err = explain(err)
				break
			}
			if r.Tried++; through && !staysHere(office, trick.To) {
				r.Open = append(r.Open, trick.Name)
			}
		}
		report(r)
	}
	return nil
}

// staysHere reports whether a recipient that was accepted is one of ours, as the
// catch-all makes of any local part.
func staysHere(office *admin.Service, to string) bool {
	path := strings.Trim(to, "<>")
	if strings.HasPrefix(path, "@") {
		_, path, _ = strings.Cut(path, ":")
	}
	a, err := office.Dir.ParseUser(path)
	if err != nil {
		return false
	}
	res, err := office.Dir.Resolve(a)
	return err == nil && res.Kind == directory.Local && len(res.Forward) == 0
}

func mailListeners(cfg *config.Config) (all [][2]string) {
	for service, addresses := range map[string][]string{"smtp": cfg.Listen.SMTP, "submission": cfg.Listen.Submission, "smtps": cfg.Listen.SMTPS} {
		for _, a := range addresses {
			all = append(all, [2]string{service, a})
		}
	}
	return all
}

// try says one trick on a connection of its own and reports whether the
// recipient was accepted, or answered with a promise to take it later: 451 is
// what a permitted recipient gets that cannot be reached.
func (t *test) try(ctx context.Context, service, address string, trick Trick) (bool, error) {
	c, err := t.dial(ctx, address, service == "smtps")
	if err != nil {
		return false, err
	}
	defer c.Close()
	s := talker{c, bufio.NewReader(c)}
	if _, err := s.reply(); err != nil {
		return false, err
	}
	for _, line := range []string{"EHLO " + cmp.Or(trick.Helo, outsideDomain), "MAIL FROM:" + trick.From} {
		if code, err := s.say(line); err != nil || code >= 400 {
			return false, err
		}
	}
	code, err := s.say("RCPT TO:" + trick.To)
	if err != nil || code/100 != 2 && code != 451 {
		return false, err
	}
	s.say("RSET")
	return true, nil
}

// talker says a line of SMTP and reads the code of the reply.
type talker struct {
	net.Conn
	r *bufio.Reader
}

func (t *talker) say(line string) (int, error) {
	t.SetDeadline(time.Now().Add(stepTimeout))
	if _, err := fmt.Fprintf(t, "%s\r\n", line); err != nil {
		return 0, err
	}
	return t.reply()
}

func (t *talker) reply() (code int, err error) {
	for {
		line, err := t.r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if _, err := fmt.Sscanf(line, "%3d", &code); err != nil {
			return 0, fmt.Errorf("the server says %q", strings.TrimSpace(line))
		}
		if len(line) < 4 || line[3] != '-' {
			return code, nil
		}
	}
}
