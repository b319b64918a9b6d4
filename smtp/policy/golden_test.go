package policy

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

var update = flag.Bool("update", false, "write the present decisions into testdata/*.golden")

// A golden file is a list of cases:
//
//	== what the case shows
//	relay.deny_hosts = *                      a setting; commas separate the entries of a list
//	ip=192.0.2.1 to=x@remote.example          the facts
//	  rcpt: refuse 550 5.7.1 Unable to …      the decisions: every stage up to the first refusal,
//	    relay.enforcement (default): …        with its steps
//	    flip: …                               and the remedy
//
// Several lines of facts, each with its decisions, may follow the settings. A line that ends in
// "login" asks whether the client may send a password. A fact goes by the words in setFact or by
// its JSON name.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := decideAll(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, file, got, string(text))
		})
	}
}

func compare(t *testing.T, file, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		line := func(l []string) string {
			if i < len(l) {
				return l[i]
			}
			return "(end)"
		}
		if line(g) != line(w) {
			t.Fatalf("%s:%d: decided\n\t%s\nwant\n\t%s\n(-update writes it)", file, i+1, line(g), line(w))
		}
	}
}

// decideAll returns the file with the same settings and facts, and the present decisions.
func decideAll(t *testing.T, text string) string {
	var out strings.Builder
	rules := &ruleText{}
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "  "):
			continue
		case strings.HasPrefix(line, "== "):
			rules = &ruleText{}
		case strings.Contains(line, " = "):
			rules.set(line, i+1)
		}
		fmt.Fprintln(&out, line)
		if strings.HasPrefix(line, "ip=") {
			r, f := rules.rules(t), parseFacts(t, line)
			if strings.HasSuffix(line, " login") {
				writeDecision(&out, r.LogIn(f))
				continue
			}
			for _, d := range r.Evaluate(f) {
				writeDecision(&out, d)
			}
		}
	}
	return out.String()
}

func writeDecision(out *strings.Builder, d Decision) {
	fmt.Fprintf(out, "  %s: %s", d.Stage, d.Verdict)
	if d.Reply != nil {
		fmt.Fprintf(out, " %s", d.Reply.Error())
	}
	fmt.Fprintln(out)
	for _, s := range d.Steps {
		fmt.Fprintf(out, "    %s\n", s)
	}
	if d.Mark != "" {
		fmt.Fprintf(out, "    mark: %s\n", d.Mark)
	}
	if d.Remedy != "" {
		fmt.Fprintf(out, "    flip: %s\n", d.Remedy)
	}
	if d.Console != "" {
		fmt.Fprintf(out, "    log: %s\n", d.Console)
	}
}

// ruleText is the configuration of a case: the value of each key, with its line.
type ruleText struct {
	values map[string]string
	lines  map[string]int
}

func (r *ruleText) set(line string, number int) {
	if r.values == nil {
		r.values, r.lines = map[string]string{}, map[string]int{}
	}
	key, value, _ := strings.Cut(line, " = ")
	r.values[key], r.lines[key] = strings.TrimSpace(value), number
}

func (r *ruleText) origin(key string) string {
	if _, ok := r.values[key]; ok {
		return "config"
	}
	return "default"
}

func (r *ruleText) list(key, def string) (lines []Line) {
	value, ok := r.values[key]
	if !ok {
		value = def
	}
	for _, entry := range strings.Split(value, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			lines = append(lines, Line{Text: entry, Origin: r.origin(key)})
		}
	}
	return lines
}

func (r *ruleText) groups() map[string][]Line {
	groups := map[string][]Line{}
	for key := range r.values {
		if name, ok := strings.CutPrefix(key, "groups."); ok {
			groups[name] = r.list(key, "")
		}
	}
	return groups
}

func (r *ruleText) hosts(t *testing.T, key, def string) HostList {
	l, errs := ParseHosts(r.list(key, def), r.groups())
	for _, err := range errs {
		t.Errorf("%s: %v", key, err)
	}
	return l
}

func (r *ruleText) addresses(t *testing.T, key string) AddressList {
	l, errs := ParseAddresses(r.list(key, ""), r.groups())
	for _, err := range errs {
		t.Errorf("%s: %v", key, err)
	}
	return l
}

func (r *ruleText) on(key string, def bool) Setting[bool] {
	value, ok := r.values[key]
	if !ok {
		return Setting[bool]{def, "default"}
	}
	return Setting[bool]{value == "true", "config"}
}

func (r *ruleText) word(key, def string) Setting[string] {
	if value, ok := r.values[key]; ok {
		return Setting[string]{value, "config"}
	}
	return Setting[string]{def, "default"}
}

func (r *ruleText) rules(t *testing.T) *Rules {
	t.Helper()
	mode, enforcement, user := r.word("connections.mode", "all_except"), r.word("relay.enforcement", "all"), r.word("senders.verify_user", "both")
	authenticated, refusal := r.word("relay.authenticated", "allow"), r.word("relay.refusal", "unable")
	hops, _ := strconv.Atoi(r.word("smtp.max_hops", "100").Value)
	rules := &Rules{
		Connections: Connections{
			Only: Setting[bool]{mode.Value == "only", mode.Origin}, Allow: r.hosts(t, "connections.allow", ""), Deny: r.hosts(t, "connections.deny", ""),
			VerifyHostname: r.on("connections.verify_hostname", false), ReverseDNS: r.on("connections.reverse_dns", false),
		},
		Anonymous: Anonymous{r.on("anonymous.allow_exceptions", true), r.hosts(t, "anonymous.exceptions", "")},
		Sites:     map[string]Site{},
		LogIns:    LogIns{r.hosts(t, "auth.plaintext_networks", "")},
		Relay: Relay{
			Enforcement:        Setting[Enforcement]{Enforcement(enforcement.Value), enforcement.Origin},
			ExcludeHosts:       r.hosts(t, "relay.exclude_hosts", ""),
			AuthenticatedAllow: Setting[bool]{authenticated.Value == "allow", authenticated.Origin},
			AllowDomains:       r.addresses(t, "relay.allow_domains"), DenyDomains: r.addresses(t, "relay.deny_domains"),
			AllowHosts: r.hosts(t, "relay.allow_hosts", ""), DenyHosts: r.hosts(t, "relay.deny_hosts", "*"),
			OverrideDomains: r.addresses(t, "relay.override_domains"),
			DenyWins:        r.on("relay.deny_wins", false), DominoReplies: Setting[bool]{refusal.Value == "rejected", refusal.Origin},
		},
		Senders: Senders{
			Allow: r.addresses(t, "senders.allow"), Deny: r.addresses(t, "senders.deny"),
			VerifyUser: Setting[VerifyUser]{VerifyUser(user.Value), user.Origin}, RefuseForged: r.on("senders.refuse_forged", true),
			TrustedHosts: r.hosts(t, "senders.trusted_hosts", ""), VerifyDomain: r.on("senders.verify_domain", false),
		},
		Recipients: Recipients{
			Allow: r.addresses(t, "recipients.allow"), Deny: r.addresses(t, "recipients.deny"),
			GroupSenders: Setting[GroupAccept]{GroupAccept(r.word("recipients.group_senders", "anyone").Value), r.origin("recipients.group_senders")},
			DenyGroups:   Setting[GroupDenial]{GroupDenial(r.word("recipients.deny_groups", "none").Value), r.origin("recipients.deny_groups")},
		},
		Outside: Outside{
			Send: r.on("outside.send", true), Receive: r.on("outside.receive", true),
			AcceptFrom: r.addresses(t, "outside.accept_from"), RejectFrom: r.addresses(t, "outside.reject_from"),
			PerHour: Setting[int]{500, "default"},
			Closed:  Setting[bool]{!r.on("outbound.enabled", true).Value, r.origin("outbound.enabled")},
		},
		Routes:  r.routes(t),
		DNSBL:   r.dnsbl(t),
		MaxHops: Setting[int]{hops, r.origin("smtp.max_hops")},
	}
	for _, service := range []smtp.Service{smtp.MTA, smtp.Submission, smtp.SMTPS} {
		key := func(k string) string { return "sites." + service.String() + "." + k }
		min := r.word(key("min_tls"), "")
		versions := map[string]uint16{"": 0, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
		rules.Sites[service.String()] = Site{
			RequireTLS: r.on(key("require_tls"), false), Require128Bit: r.on(key("require_128_bit"), false), MinTLS: Setting[uint16]{versions[min.Value], min.Origin},
			RequireAuth: r.on(key("require_auth"), service.DemandsAuth()), Anonymous: r.on(key("anonymous"), !service.DemandsAuth()),
			OfferAuth: r.on(key("offer_auth"), true),
		}
	}
	return rules
}

// routes is one route, if it has domains.
func (r *ruleText) routes(t *testing.T) Routes {
	table := &route.Table{}
	for _, line := range r.list("route.domains", "") {
		table.Routes = append(table.Routes, route.Route{Name: line.Text, Domains: []string{line.Text}})
	}
	size, _ := strconv.ParseInt(r.word("route.max_size", "0").Value, 10, 64)
	limit := RouteLimit{AcceptFrom: r.addresses(t, "route.accept_from"), RejectFrom: r.addresses(t, "route.reject_from"),
		MaxSize: Setting[int64]{size, r.origin("route.max_size")}}
	return Routes{Table: table, Limit: slices.Repeat([]RouteLimit{limit}, len(table.Routes))}
}

func (r *ruleText) dnsbl(t *testing.T) DNSBL {
	action := r.word("dnsbl.action", "log")
	b := DNSBL{
		Deny: r.hosts(t, "dnsbl.private_deny", ""), Allow: r.hosts(t, "dnsbl.private_allow", ""), Exempt: r.addresses(t, "dnsbl.exempt"),
		Action: Setting[DNSBLAction]{DNSBLAction(action.Value), action.Origin}, Text: r.word("dnsbl.reply", "").Value,
	}
	for _, line := range r.list("dnsbl.sites", "") {
		site, err := ParseDNSBLSite(line)
		if err != nil {
			t.Errorf("dnsbl.sites: %v", err)
		}
		b.Sites = append(b.Sites, site)
	}
	return b
}

// parseFacts reads "ip=1.2.3.4 user=anna from=<> to=x@remote.example …". The hosted domain is
// office.example. The user may send to other servers unless the line has the word "inside".
func parseFacts(t *testing.T, line string) *Facts {
	t.Helper()
	f := new(Facts)
	f.Kind = RecipientLocal
	for _, word := range strings.Fields(line) {
		key, value, _ := strings.Cut(word, "=")
		setFact(t, f, key, value)
	}
	f.FromHosted = f.From.Domain == "office.example"
	if local, _, plus := strings.Cut(f.From.Local, "+"); plus {
		f.FromPlain = addr.Address{Local: local, Domain: f.From.Domain}
	}
	if !f.User.IsZero() {
		if !strings.Contains(line, " tls=") {
			f.TLSVersion = tls.VersionTLS13 // without TLS the login would be refused
		}
		f.User.Outside = !strings.Contains(line, " inside")
	}
	return f
}

func setFact(t *testing.T, f *Facts, key, value string) {
	t.Helper()
	parse := func(s string) addr.Address {
		if s == "<>" {
			return addr.Address{}
		}
		a, err := addr.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	all := func() (list []addr.Address) {
		for _, s := range strings.Split(value, ",") {
			list = append(list, parse(s))
		}
		return list
	}
	switch key {
	case "ip":
		f.Remote = netip.MustParseAddr(value)
	case "name":
		f.Name, f.NameState, f.InternalName = value, NameVerified, strings.HasSuffix(value, ".office.example")
	case "dns":
		f.NameState = NameState(value)
	case "listed": // zen.example:127.0.0.2+127.0.0.4,bl.example:failed,clean.example
		for _, one := range strings.Split(value, ",") {
			f.Listed = append(f.Listed, parseListing(one))
		}
	case "service":
		f.Service = map[string]smtp.Service{"smtp": smtp.MTA, "submission": smtp.Submission, "smtps": smtp.SMTPS}[value]
	case "tls":
		f.TLSVersion = map[string]uint16{"1.0": tls.VersionTLS10, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[value]
	case "weak":
		f.WeakCipher = value
	case "user":
		f.User.Address = parse(value)
	case "own":
		f.User.Own = all()
	case "groups":
		f.User.Groups = all()
	case "size":
		f.Size, _ = strconv.ParseInt(value, 10, 64)
	case "shared":
		f.Shared = true
	case "held":
		f.User.Held = true
	case "bypop3":
		f.User.ByPOP3 = true
	case "inside", "login":
	case "from":
		f.From = parse(value)
	case "domain":
		f.SenderDomain = DomainState(value)
	case "to":
		if f.To = parse(value); f.To.Domain != "office.example" {
			f.Kind = RecipientRemote
		} else if strings.HasPrefix(value, "nobody") ||
			strings.HasPrefix(value, "SRS0") {
			f.Kind = RecipientUnknown
		}
	case "nooutside":
		f.NoOutside = true
	case "group":
		if f.GroupName = f.To; value != "default" {
			f.GroupAccept = GroupAccept(value)
		}
	case "member":
		f.GroupMember = true
	case "sender", "headerfrom":
		f.HeaderField = map[string]string{"sender": "Sender", "headerfrom": "From"}[key]
		if f.HeaderBad = value == "bad"; !f.HeaderBad {
			f.HeaderSender = all()
		}
	case "device":
		f.Device = &Device{Name: value, Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.20/32")}}
	case "outside":
		f.Device.Outside = true
	case "as":
		f.Device.As = parse(value)
	case "over":
		f.Device.Over, f.Device.PerHour = true, 100
	case "plaintext":
		f.Device.AllowPlaintext = true
	default:
		setByName(t, f, key, value)
	}
}

// setByName sets a fact by its JSON name. A name without a value means true.
func setByName(t *testing.T, f *Facts, name, value string) {
	t.Helper()
	if value == "" {
		value = "true"
	}
	for _, literal := range []string{value, strconv.Quote(value)} {
		d := json.NewDecoder(strings.NewReader(fmt.Sprintf("{%q: %s}", name, literal)))
		d.DisallowUnknownFields()
		if d.Decode(f) == nil {
			return
		}
	}
	t.Fatalf("no fact is called %q, or it cannot be %q", name, value)
}

func parseListing(text string) Listing {
	site, answers, listed := strings.Cut(text, ":")
	l := Listing{Site: site, State: ListedNot}
	switch {
	case answers == "failed":
		l.State = ListedFailed
	case listed:
		l.State = ListedThere
		for _, a := range strings.Split(answers, "+") {
			l.Answer = append(l.Answer, netip.MustParseAddr(a))
		}
	}
	return l
}
