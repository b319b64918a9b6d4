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
	"pillarbox/smtp"
)

// outsideDomain is a domain that cannot exist: a server that accepts mail for it relays.
const outsideDomain = smtp.SelfTestDomain

// Trick is a form of sender and recipient that some servers relay by mistake.
type Trick struct {
	Name, From, To string // From and To as in MAIL and RCPT, without FROM: and TO:
	Helo           string // "": outsideDomain
}

// Tricks returns the attempts of an outsider. domain is hosted here, hostname is the server's name,
// address one of its IP addresses.
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
		all = append(all, Trick{Name: "forged HELO " + helo, From: "<somebody@" + outsideDomain + ">", To: "<" + out + ">", Helo: helo})
	}
	return all
}

// RelayResult is the result of all tricks at one listener.
type RelayResult struct {
	Service, Address string
	Tried            int
	Open             []string // names of the tricks that the server accepted
	Undecided        []string // names of those that the server put off (451)
	Err              error
}

// Relay tries every trick, without a login, at every listener that takes mail. It sends no message: an
// accepted recipient is the proof. It connects from this machine, so a rule that trusts loopback
// appears as an open relay.
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
			r.Tried++
			switch {
			case through == undecided:
				r.Undecided = append(r.Undecided, trick.Name)
			case through == accepted && !staysHere(office, trick.To):
				r.Open = append(r.Open, trick.Name)
			}
		}
		report(r)
	}
	return nil
}

// staysHere reports whether an accepted recipient is local; a catch-all accepts any local part.
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
	for service, addresses := range map[string][]string{
		"smtp": cfg.Listen.SMTP, "submission": cfg.Listen.Submission, "smtps": cfg.Listen.SMTPS,
	} {
		for _, a := range addresses {
			all = append(all, [2]string{service, a})
		}
	}
	return all
}

// answer is what the server said to a trick.
type answer int

const (
	refused   answer = iota
	accepted         // the recipient
	undecided        // 451: the server cannot look the recipient up now
)

// try sends one trick on a connection of its own.
func (t *test) try(ctx context.Context, service, address string, trick Trick) (answer, error) {
	c, err := t.dial(ctx, address, service == "smtps")
	if err != nil {
		return refused, err
	}
	defer c.Close()
	s := smtpClient{c, bufio.NewReader(c)}
	if _, err := s.reply(); err != nil {
		return refused, err
	}
	for _, line := range []string{"EHLO " + cmp.Or(trick.Helo, outsideDomain), "MAIL FROM:" + trick.From} {
		if code, err := s.command(line); err != nil || code >= 400 {
			return refused, err
		}
	}
	code, err := s.command("RCPT TO:" + trick.To)
	switch {
	case err != nil || code/100 != 2 && code != 451:
		return refused, err
	case code == 451:
		return undecided, nil
	}
	s.command("RSET")
	return accepted, nil
}

// smtpClient sends single lines of SMTP and reads the codes of the replies.
type smtpClient struct {
	net.Conn
	r *bufio.Reader
}

func (t *smtpClient) command(line string) (int, error) {
	t.SetDeadline(time.Now().Add(stepTimeout))
	if _, err := fmt.Fprintf(t, "%s\r\n", line); err != nil {
		return 0, err
	}
	return t.reply()
}

func (t *smtpClient) reply() (code int, err error) {
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
