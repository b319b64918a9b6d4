package checks

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"pillarbox/cmd/internal/clientsetup"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/netinfo"
)

// listener is one address that the configuration names.
type listener struct {
	service  string // key under [listen]
	address  string // as configured
	implicit bool   // TLS from the start
	greeting string // the first octets of the server
}

func listeners(l *config.Listen) (all []listener) {
	for _, s := range []struct {
		name      string
		addresses []string
		implicit  bool
		greeting  string
	}{
		{"smtp", l.SMTP, false, "220"}, {"submission", l.Submission, false, "220"},
		{"smtps", l.SMTPS, true, "220"}, {"odmr", l.ODMR, false, "220"},
		{"pop3", l.POP3, false, "+OK"}, {"pop3s", l.POP3S, true, "+OK"},
	} {
		for _, a := range s.addresses {
			if clientsetup.Port(a) != 0 { // with port 0 only the server knows the port
				all = append(all, listener{s.name, a, s.implicit, s.greeting})
			}
		}
	}
	return all
}

// serves reports whether a listener accepts connections to an address of the machine.
func (l listener) serves(ip netip.Addr) bool {
	host, _, _ := net.SplitHostPort(l.address)
	own, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return true
	case err != nil:
		return false
	case own.IsUnspecified():
		return own.Is6() || ip.Is4()
	}
	return own == ip
}

// ports connects to each listener from this machine.
func (e *Env) ports(ctx context.Context) (all findings) {
	list := listeners(&e.Config.Listen)
	if len(list) == 0 {
		return findings{warning("name addresses in [listen] of the configuration",
			"no service is on")}
	}
	for _, l := range list {
		if err := e.greeted(ctx, l, l.address); err != nil {
			all = append(all, about(l.service+" "+l.address, problem(
				"'ss -ltnp' shows who listens; then 'systemctl restart pillarbox'",
				"%s at %s: %v", l.service, l.address, err)))
		}
	}
	return orOK(all, "%d listeners answer", len(list))
}

// lanPorts connects to each listener by the addresses of this machine in the LAN. The connection
// does not leave the machine, so it says nothing about a firewall.
func (e *Env) lanPorts(ctx context.Context) (all findings) {
	interfaces, err := e.interfaces()
	if err != nil {
		return failed("the networks of this machine are not known", err)
	}
	own, list := netinfo.Addresses(interfaces), listeners(&e.Config.Listen)
	if len(own) == 0 {
		return skipped("this machine has no address but loopback")
	}
	tried := 0
	for _, ip := range own {
		for _, l := range list {
			if !l.serves(ip) {
				continue
			}
			tried++
			address := net.JoinHostPort(ip.String(), strconv.Itoa(clientsetup.Port(l.address)))
			if err := e.greeted(ctx, l, address); err != nil {
				all = append(all, about(l.service+" "+address, problem(
					"'ss -ltn' shows on which addresses the server listens; correct [listen], "+
						"then 'systemctl restart pillarbox'",
					"%s at %s: %v", l.service, address, err)))
			}
		}
	}
	if tried == 0 {
		return findings{warning("write \":25\" instead of \"127.0.0.1:25\" in [listen], and so "+
			"on for the other services",
			"no service listens on %s, so no other computer reaches the server", addresses(own))}
	}
	return orOK(all, "%d ports answer at %s; this does not show what a firewall does", tried,
		addresses(own))
}

func addresses(all []netip.Addr) string {
	words := make([]string, len(all))
	for i, ip := range all {
		words[i] = ip.String()
	}
	return strings.Join(words, ", ")
}

const greetingTimeout = 5 * time.Second

// greeted connects and reads the greeting of a server. Certificates have checks of their own.
func (e *Env) greeted(ctx context.Context, l listener, address string) error {
	ctx, cancel := context.WithTimeout(ctx, greetingTimeout)
	defer cancel()
	c, err := e.Machine.Dial(ctx, "tcp", address)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return fmt.Errorf("cannot connect: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(greetingTimeout))
	if l.implicit {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return fmt.Errorf("connected, but no greeting came: %w", err)
	}
	fmt.Fprint(c, "QUIT\r\n")
	if !strings.HasPrefix(line, l.greeting) {
		return fmt.Errorf("the greeting is %.60q; another program may listen there",
			strings.TrimSpace(line))
	}
	return nil
}

// firewall reports ports that ufw or firewalld does not open.
func (e *Env) firewall(context.Context) findings {
	var ports []int
	for _, l := range listeners(&e.Config.Listen) {
		host, _, _ := net.SplitHostPort(l.address)
		ip, err := netip.ParseAddr(host)
		if port := clientsetup.Port(l.address); (err != nil || !ip.IsLoopback()) && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return judgeFirewall(readFirewall(e.Machine.Etc), ports)
}

// firewall is what the settings of a firewall program say.
type firewall struct {
	program string // "ufw" or "firewalld"; "": neither is on
	known   bool   // the rules could be read
	open    func(port int) bool
}

func readFirewall(etc fs.FS) firewall {
	if conf, err := fs.ReadFile(etc, "etc/ufw/ufw.conf"); err == nil && ufwEnabled(string(conf)) {
		rules, err := fs.ReadFile(etc, "etc/ufw/user.rules")
		return firewall{"ufw", err == nil, func(port int) bool {
			return ufwOpens(string(rules), port)
		}}
	}
	if _, err := fs.Stat(etc, "run/firewalld"); err == nil {
		opens, err := firewalldPorts(etc)
		return firewall{"firewalld", err == nil, opens}
	}
	return firewall{}
}

func judgeFirewall(f firewall, ports []int) findings {
	const test = "test from another computer, such as 'nc -vz SERVER 995'"
	switch {
	case len(ports) == 0:
		return ok("no port is for other computers")
	case f.program == "":
		return ok("neither ufw nor firewalld is on; another firewall cannot be seen from here: %s",
			test)
	case !f.known:
		return skipped("%s is on, and its rules cannot be read; run this as root", f.program)
	}
	var shut []string
	for _, port := range ports {
		if !f.open(port) {
			shut = append(shut, strconv.Itoa(port))
		}
	}
	if len(shut) == 0 {
		return ok("%s is on and opens the ports to other computers, or to some of them", f.program)
	}
	fix := fmt.Sprintf("'ufw allow proto tcp to any port %s'", strings.Join(shut, ","))
	if f.program == "firewalld" {
		fix = "'firewall-cmd --permanent"
		for _, port := range shut {
			fix += " --add-port=" + port + "/tcp"
		}
		fix += "', then 'firewall-cmd --reload'"
	}
	return findings{warning(fix+"; then "+test, "%s is on and has no rule that opens port %s",
		f.program, strings.Join(shut, ", "))}
}

func ufwEnabled(conf string) bool {
	for line := range strings.Lines(conf) {
		if strings.EqualFold(strings.TrimSpace(line), "ENABLED=yes") {
			return true
		}
	}
	return false
}

// ufwOpens reports whether a rule lets connections to a port in. ufw describes each rule in a
// comment: "### tuple ### allow tcp 25,587 0.0.0.0/0 any 0.0.0.0/0 in".
func ufwOpens(rules string, port int) bool {
	for line := range strings.Lines(rules) {
		rest, ok := strings.CutPrefix(line, "### tuple ### ")
		f := strings.Fields(rest)
		if !ok || len(f) < 3 || f[0] != "allow" && f[0] != "limit" || f[1] != "tcp" && f[1] != "any" {
			continue
		}
		if f[2] == "any" || slices.ContainsFunc(strings.Split(f[2], ","),
			func(s string) bool { return within(s, ":", port) }) {
			return true
		}
	}
	return false
}

// within reports whether a port, or a range of ports with a separator, contains a port.
func within(text, separator string, port int) bool {
	low, high, isRange := strings.Cut(text, separator)
	if !isRange {
		high = low
	}
	a, err := strconv.Atoi(low)
	b, err2 := strconv.Atoi(high)
	return err == nil && err2 == nil && a <= port && port <= b
}

// firewalldPorts reads the zones that an administrator has changed. Without any, the defaults of
// firewalld open no port for mail.
func firewalldPorts(etc fs.FS) (opens func(port int) bool, err error) {
	var ports []string
	files, _ := fs.Glob(etc, "etc/firewalld/zones/*.xml")
	if _, err := fs.ReadDir(etc, "etc/firewalld"); err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := fs.ReadFile(etc, file)
		if err != nil {
			return nil, err
		}
		opened, err := zonePorts(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		ports = append(ports, opened...)
	}
	return func(port int) bool {
		return slices.ContainsFunc(ports, func(s string) bool { return within(s, "-", port) })
	}, nil
}

// zonePorts returns the ports that a zone of firewalld opens: "25", "1000-2000".
func zonePorts(text []byte) (ports []string, err error) {
	services := map[string]string{
		"smtp": "25", "smtps": "465", "smtp-submission": "587", "pop3": "110", "pop3s": "995",
	}
	var zone struct {
		Target string `xml:"target,attr"`
		Ports  []struct {
			Port     string `xml:"port,attr"`
			Protocol string `xml:"protocol,attr"`
		} `xml:"port"`
		Services []struct {
			Name string `xml:"name,attr"`
		} `xml:"service"`
	}
	if err := xml.Unmarshal(text, &zone); err != nil {
		return nil, err
	}
	if zone.Target == "ACCEPT" {
		return []string{"1-65535"}, nil
	}
	for _, p := range zone.Ports {
		if p.Protocol == "tcp" {
			ports = append(ports, p.Port)
		}
	}
	for _, s := range zone.Services {
		if port, ok := services[s.Name]; ok {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// lanName looks the server's name up as a computer in the LAN does.
func (e *Env) lanName(ctx context.Context) findings {
	interfaces, err := e.interfaces()
	if err != nil {
		return failed("the networks of this machine are not known", err)
	}
	name := string(e.Config.Hostname)
	found, err := e.Machine.LAN.LookupNetIP(ctx, "ip", name+".")
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return judgeLANName(name, found, err, netinfo.Addresses(interfaces))
}

// judgeLANName judges what the machine's own name server says about the server's name. Computers in
// the LAN usually ask the same one.
func judgeLANName(name string, found []netip.Addr, err error, own []netip.Addr) findings {
	add := fmt.Sprintf("add %s with the address of this machine to the name server of the LAN "+
		"(often the router), "+
		"or to the hosts file of each computer", name)
	here := func(ip netip.Addr) bool { return slices.Contains(own, ip) }
	missing, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && missing.IsNotFound:
		return findings{warning(add, "the name server of this machine does not know %s", name)}
	case err != nil:
		return failed("the name server of this machine does not answer", err)
	case slices.ContainsFunc(found, here):
		return ok("%s leads to %s, this machine", name, addresses(found))
	case !slices.ContainsFunc(found, func(ip netip.Addr) bool { return !ip.IsLoopback() }):
		return skipped("the hosts file of this machine says that %s is %s, so it cannot be "+
			"seen what other computers get; "+
			"'nslookup %[1]s' on one of them shows it", name, addresses(found))
	case slices.ContainsFunc(found, netip.Addr.IsPrivate):
		return findings{warning("correct the address of "+name+" in the name server of the LAN",
			"%s leads to %s, which is not this machine (%s)",
			name, addresses(found), addresses(own))}
	}
	return findings{warning(add+"; or see that the router leads its own public address back "+
		"into the LAN (NAT loopback)",
		"in the LAN, %s leads to the public address %s", name, addresses(found))}
}
