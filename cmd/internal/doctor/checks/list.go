// Package checks is the list of checks of 'pillarbox doctor'.
//
// [List] is the list, in the order in which a person mends: the configuration first, mail last. Each
// check asks an [Env], and a function without I/O judges the answer. What a test must fake is a
// field of [Env] or [Machine].
package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/dnscheck"
	"pillarbox/cmd/internal/doctor"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/addr"
	"pillarbox/tls/certs"
)

// Env is the server that is examined.
type Env struct {
	Config    *config.Config // nil with ConfigErr
	ConfigErr error
	Data      *admin.Service // the data directory; nil with DataErr
	DataErr   error

	Server   Server
	Machine  Machine
	Resolver *net.Resolver // of the configuration
	Policy   func(context.Context, addr.Domain) (dnscheck.Policy, error)
	Offline  bool // ask no server on the network
	Now      func() time.Time

	dns []dnscheck.Finding // of askDNS; nil: not asked yet
}

// Server is what the running server tells. Without one, the functions fail with
// admin.ErrNotRunning or answer from the files.
type Server struct {
	TLSClients func(context.Context) ([]certs.Client, error)
	Queue      func(context.Context, admin.QueueQuestion) (admin.QueueListing, error)
	TestRoute  func(context.Context, admin.RouteQuestion) (admin.RouteReport, error)
}

// running reports whether a server answers.
func (e *Env) running(ctx context.Context) error {
	_, err := e.Server.TLSClients(ctx)
	return err
}

// interfaces returns the networks of the machine.
func (e *Env) interfaces() ([]netinfo.Interface, error) { return e.Machine.Interfaces() }

type findings = []doctor.Finding

type run = func(context.Context) findings

// List returns the checks of a server. Each may be run once.
func List(e *Env) []doctor.Check {
	return []doctor.Check{
		{Name: "config", Run: e.config,
			Why: "a server with a mistake in its configuration does not start, and does not " +
				"reload"},
		{Name: "data", Run: e.data,
			Why: "without the data directory there is no mail, and no administration"},
		{Name: "server", Run: e.withData(e.server),
			Why: "without a running server no mail arrives, leaves or can be read"},
		{Name: "settings", Run: e.withData(e.settings),
			Why: "settings that do not fit the domains and mailboxes lock users out or lose " +
				"replies"},
		{Name: "owners", Run: e.withData(e.owners),
			Why: "the server cannot serve a mailbox whose files its account cannot use"},
		{Name: "damage", Run: e.withData(e.damage),
			Why: "a settings file that cannot be read switches off what it is for"},

		{Name: "ports", Run: e.whileRunning(e.ports),
			Why: "clients and other servers reach the server only through its ports"},
		{Name: "lan-ports", Run: e.whileRunning(e.lanPorts),
			Why: "mail programs connect to the address of this machine in the LAN, not to " +
				"loopback"},
		{Name: "firewall", Run: e.withConfig(e.firewall),
			Why: "a firewall on this machine keeps clients out even if the server listens"},
		{Name: "lan-name", Run: e.online(e.lanName),
			Why: "mail programs find the server by its name, and the certificate has that name"},

		{Name: "clock", Run: e.clock,
			Why: "a wrong clock breaks TLS, one-time codes and DKIM, and puts wrong dates into " +
				"mail"},
		{Name: "disk", Run: e.withData(e.disk),
			Why: "on a full disk the server accepts no mail"},
		{Name: "inodes", Run: e.withData(e.inodes),
			Why: "each message is a file; without free inodes no file can be made"},
		{Name: "descriptors", Run: e.withData(e.descriptors),
			Why: "each connection and each message needs an open file, and the system limits them"},
		{Name: "sync", Run: e.withData(e.sync), Rare: true,
			Why: "the server promises with its 250 that a message survives a power cut"},
		{Name: "log", Run: e.withData(e.logAndReserve),
			Why: "accepted mail is in the log first, and without its reserve no mail is accepted"},

		{Name: "backup", Run: e.withData(e.backup),
			Why: "a disk that dies takes all mail with it that is not on another one"},

		{Name: "certificate", Run: e.withConfig(e.certificate),
			Why: "mail programs refuse an expired certificate"},
		{Name: "certificate-names", Run: e.withConfig(e.certificateNames),
			Why: "mail programs refuse a certificate that lacks the name that they connect to"},
		{Name: "certificate-chain", Run: e.withConfig(e.certificateChain),
			Why: "programs that do not know an intermediate certificate refuse the server's"},

		{Name: "dns-address", Run: e.record(dnscheck.Address), Rare: true,
			Why: "clients and other servers find this server by the A record of its name"},
		{Name: "dns-ipv6", Run: e.record(dnscheck.AAAA), Rare: true,
			Why: "clients prefer the AAAA record and fail first if it is wrong"},
		{Name: "dns-ptr", Run: e.record(dnscheck.PTR), Rare: true,
			Why: "many servers refuse mail from an address whose name does not lead back to it"},
		{Name: "dns-mx", Run: e.record(dnscheck.MX), Rare: true,
			Why: "other servers bring mail to the hosts in the MX records"},
		{Name: "dns-spf", Run: e.record(dnscheck.SPF), Rare: true,
			Why: "other servers take mail as forged if SPF does not permit this server"},
		{Name: "dns-dkim", Run: e.record(dnscheck.DKIM), Rare: true,
			Why: "a signature that other servers cannot verify is worse than none"},
		{Name: "dns-dmarc", Run: e.record(dnscheck.DMARC), Rare: true,
			Why: "large providers ask for a DMARC record of each domain that sends to them"},
		{Name: "dns-srv", Run: e.record(dnscheck.SRV), Rare: true,
			Why: "some mail programs configure themselves by SRV records; wrong ones mislead them"},
		{Name: "dns-mta-sts", Run: e.record(dnscheck.MTASTS), Rare: true,
			Why: "a wrong MTA-STS policy keeps mail of other servers away"},

		{Name: "relay", Run: e.whileRunning(e.relay), Rare: true,
			Why: "an open relay sends the spam of others, and is soon on every block list"},
		{Name: "smart-host", Run: e.online(e.smartHost), Rare: true,
			Why: "mail to other servers waits if the smart host does not accept the login"},

		{Name: "secrets", Run: e.withData(e.secrets),
			Why: "whoever reads a password or guesses one sends mail in the name of its owner"},
		{Name: "legacy-tls", Run: e.withConfig(e.legacyTLS),
			Why: "TLS 1.0 and 1.1 can be broken, and programs that need it get no updates"},
		{Name: "plaintext", Run: e.withData(e.plaintext),
			Why: "everyone in the same network can read a password that is sent without TLS"},
		{Name: "plaintext-pop3", Run: e.withData(e.plaintextPOP3), Rare: true,
			Why: "everyone in the same network can read a password that is sent without TLS"},
		{Name: "quota", Run: e.withData(e.quota), Rare: true,
			Why: "a full mailbox gets no mail, and its senders get reports"},
		{Name: "queue", Run: e.withData(e.queue),
			Why: "mail that waits too long returns to its sender"},
		{Name: "quarantine", Run: e.withData(e.quarantine),
			Why: "messages there were accepted, but are delivered only if an administrator acts"},
	}
}

// Names returns the names of all checks.
func Names() (names []string) {
	for _, c := range List(new(Env)) {
		names = append(names, c.Name)
	}
	return names
}

// The functions below skip a check that cannot be done.

func (e *Env) withConfig(check run) run {
	return func(ctx context.Context) findings {
		if e.Config == nil {
			return skipped("the configuration cannot be read")
		}
		return check(ctx)
	}
}

func (e *Env) withData(check run) run {
	return e.withConfig(func(ctx context.Context) findings {
		if e.Data == nil {
			return skipped("the data directory cannot be opened")
		}
		return check(ctx)
	})
}

func (e *Env) whileRunning(check run) run {
	return e.withData(func(ctx context.Context) findings {
		if e.running(ctx) != nil {
			return skipped("the server is not running")
		}
		return check(ctx)
	})
}

func (e *Env) online(check run) run {
	return e.withData(func(ctx context.Context) findings {
		if e.Offline {
			return skipped("left out by --offline")
		}
		return check(ctx)
	})
}

func ok(format string, args ...any) findings {
	return findings{{Severity: doctor.OK, Message: fmt.Sprintf(format, args...)}}
}

func skipped(format string, args ...any) findings {
	return findings{{Severity: doctor.Skipped, Message: fmt.Sprintf(format, args...)}}
}

func warning(fix, format string, args ...any) doctor.Finding {
	return doctor.Finding{Severity: doctor.Warning, Message: fmt.Sprintf(format, args...), Fix: fix}
}

func problem(fix, format string, args ...any) doctor.Finding {
	return doctor.Finding{Severity: doctor.Error, Message: fmt.Sprintf(format, args...), Fix: fix}
}

// about gives a finding its subject.
func about(subject string, f doctor.Finding) doctor.Finding {
	f.Subject = subject
	return f
}

// failed is the finding for a check that could not be finished.
func failed(what string, err error) findings {
	fix := "try again; if it lasts, see the server's log"
	if hinted, ok := errors.AsType[*admin.HintError](err); ok {
		fix = hinted.Hint
	}
	return findings{warning(fix, "%s: %v", what, err)}
}

// orOK returns the findings, or an OK if there are none.
func orOK(all findings, format string, args ...any) findings {
	if len(all) == 0 {
		return ok(format, args...)
	}
	return all
}

// first keeps the first findings, and says how many there are more.
func first(most int, all findings, fix string) findings {
	if len(all) <= most {
		return all
	}
	more := doctor.Finding{Severity: all[most].Severity, Subject: "more", Fix: fix,
		Message: fmt.Sprintf("%d more", len(all)-most)}
	return append(all[:most:most], more)
}
