package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// table is a section that may be there several times, as [[name]]. The keys of
// its first entry are name[1].key and so on, which nobody can write himself: no
// bare key has brackets.
type table struct {
	name string

	// keys are those of one entry, whose section and index are given. They are
	// for configurations that have so many entries.
	keys func(section string, i int) []key

	add func(c *Config)     // one more entry, as it is with no key set
	len func(c *Config) int // how many entries there are
}

// tables is every array of tables that there is, in the order of the sample.
func tables() []table {
	return []table{
		{
			name: "route",
			keys: routeKeys,
			add: func(c *Config) {
				r := c.Routes.Default
				r.Name = ""
				c.Routes.Routes = append(c.Routes.Routes, r)
				c.Relayed = append(c.Relayed, Relayed{})
			},
			len: func(c *Config) int { return len(c.Routes.Routes) },
		},
		{
			name: "fetch",
			keys: fetchKeys,
			add:  func(c *Config) { c.Fetch = append(c.Fetch, defaultFetch()) },
			len:  func(c *Config) int { return len(c.Fetch) },
		},
		{
			name: "directory",
			keys: directoryKeys,
			add:  func(c *Config) { c.Directories = append(c.Directories, defaultDirectory()) },
			len:  func(c *Config) int { return len(c.Directories) },
		},
	}
}

// entry is the section of a table's entry, whose index counts from 0.
func entry(name string, i int) string { return fmt.Sprintf("%s[%d]", name, i+1) }

var entryIndex = regexp.MustCompile(`^([a-z]+)\[[0-9]+\]`)

// isEntry reports whether a key, or a section, is that of a table's entry.
func isEntry(name string) bool { return entryIndex.MatchString(name) }

// general is the name of an entry's key without the entry's number, as the schema
// has it: route[].tls.
func general(name string) string { return entryIndex.ReplaceAllString(name, "$1[]") }

// routeKeys are those of [[route]].
func routeKeys(section string, i int) []key {
	way := func(c *Config) *route.Route { return &c.Routes.Routes[i] }
	more := func(c *Config) *Relayed { return &c.Relayed[i] }
	in := func(name string) string { return section + "." + name }
	all := []key{
		atLeastOne(`["partner.example"]`, routeDomains(in("domains"), way)),
		boolean(in("lmtp"), func(c *Config) *bool { return &way(c).LMTP }),
		boolean(in("helo"), func(c *Config) *bool { return &way(c).Helo }),
		boolean(in("hold"), func(c *Config) *bool { return &way(c).Hold }),
		hosts(in("etrn_hosts"), func(c *Config) *policy.HostList { return &more(c).ETRNHosts }),
		list(in("etrn_accounts"), func(c *Config) *[]address { return &more(c).ETRNAccounts }, foldedAddress),
		boolean(in("allow_relay"), func(c *Config) *bool { return &more(c).AllowRelay }),
		number(in("connections"), func(c *Config) *int { return &way(c).Connections }, 1, 100_000),
	}
	all = append(all, wayKeys(section, way)...)
	return entryKeys(all, func(c *Config) bool { return i < len(c.Routes.Routes) })
}

// wayKeys are what [outbound] and [[route]] have in common.
func wayKeys(section string, way func(*Config) *route.Route) []key {
	in := func(name string) string { return section + "." + name }
	return []key{
		list(in("smart_host"), func(c *Config) *[]route.Host { return &way(c).SmartHost }, smartHost),
		boolean(in("direct_first"), func(c *Config) *bool { return &way(c).DirectFirst }),
		number(in("port"), func(c *Config) *int { return &way(c).Port }, 1, 65535),
		text(in("tls"), func(c *Config) *route.TLSMode { return &way(c).TLS }, tlsMode),
		text(in("user"), func(c *Config) *string { return &way(c).User }, optional(credential)),
		text(in("password_file"), func(c *Config) *string { return &way(c).PasswordFile }, optional(filePath)),
		text(in("masquerade"), func(c *Config) *domain { return &way(c).Masquerade }, optional(hostedDomain)),
		text(in("bind"), func(c *Config) *ipAddress { return &way(c).Bind }, optional(localAddress)),
		atLeastOne(`["15m", "30m"]`, list(in("retries"), func(c *Config) *[]duration { return &way(c).Schedule.Retries }, span("1s", "168h"))),
		text(in("delay_notice"), func(c *Config) *duration { return &way(c).Schedule.DelayNotice }, orZero("never", span("1m", "720h"))),
		text(in("expire"), func(c *Config) *duration { return &way(c).Schedule.Expire }, span("1m", "720h")),
		windows(in("windows"), func(c *Config) *route.Windows { return &way(c).Windows }),
		boolean(in("mta_sts"), func(c *Config) *bool { return &way(c).MTASTS }),
		boolean(in("dane"), func(c *Config) *bool { return &way(c).DANE }),
	}
}

// fetchKeys are those of [[fetch]].
func fetchKeys(section string, i int) []key {
	from := func(c *Config) *Fetch { return &c.Fetch[i] }
	in := func(name string) string { return section + "." + name }
	return entryKeys([]key{
		text(in("name"), func(c *Config) *string { return &from(c).Name }, optional(label)),
		text(in("etrn_server"), func(c *Config) *route.Host { return &from(c).ETRNServer }, optional(etrnHost)),
		list(in("etrn_domains"), func(c *Config) *[]string { return &from(c).ETRNDomains }, etrnDomain),
		text(in("pop3"), func(c *Config) *route.Host { return &from(c).POP3 }, optional(pop3Host)),
		text(in("tls"), func(c *Config) *route.TLSMode { return &from(c).TLS }, tlsMode),
		text(in("user"), func(c *Config) *string { return &from(c).User }, optional(credential)),
		text(in("password_file"), func(c *Config) *string { return &from(c).PasswordFile }, optional(filePath)),
		text(in("deliver_to"), func(c *Config) *address { return &from(c).DeliverTo }, optional(mailAddress)),
		boolean(in("leave"), func(c *Config) *bool { return &from(c).Leave }),
		number(in("leave_days"), func(c *Config) *int { return &from(c).LeaveDays }, 0, MaxDays),
		text(in("every"), func(c *Config) *duration { return &from(c).Every }, orZero("never", span("1m", "168h"))),
		list(in("at"), func(c *Config) *[]duration { return &from(c).At }, timeOfDay),
		boolean(in("with_each_delivery"), func(c *Config) *bool { return &from(c).WithEachDelivery }),
	}, func(c *Config) bool { return i < len(c.Fetch) })
}

// entryKeys makes keys those of an entry that a configuration may have or not.
func entryKeys(all []key, in func(*Config) bool) []key {
	for k := range all {
		all[k].in = in
	}
	return all
}

// routeDomains also keeps the domains as a list of addresses has them, for what
// everybody may relay to.
func routeDomains(name string, way func(*Config) *route.Route) key {
	k := list(name, func(c *Config) *[]string { return &way(c).Domains }, routePattern)
	set := k.set
	k.set = func(c *Config, v any, at func(int) string) []fault {
		if faults := set(c, v, at); faults != nil {
			return faults
		}
		var lines []policy.Line
		for i, pattern := range way(c).Domains {
			text := pattern
			if !strings.HasPrefix(pattern, "*") {
				text = "@" + pattern // or it would take in what is below it
			}
			lines = append(lines, policy.Line{Text: text, Origin: at(i)})
		}
		c.lines[name] = lines
		return nil
	}
	return k
}

// relayedLines are the domains of routes that everybody may relay to.
func (c *Config) relayedLines() (lines []policy.Line) {
	for i, r := range c.Relayed {
		if r.AllowRelay {
			lines = append(lines, c.lines[entry("route", i)+".domains"]...)
		}
	}
	return lines
}

// windows is a list of times at which mail may leave.
func windows(name string, field func(*Config) *route.Windows) key {
	return key{
		name: name,
		kind: listKind,
		set: func(c *Config, v any, _ func(int) string) (faults []fault) {
			for i, item := range v.([]string) {
				if _, err := route.ParseWindows([]string{item}); err != nil {
					faults = append(faults, fault{i, mistake{err.Error(), windowHint}})
				}
			}
			if faults != nil {
				return faults
			}
			w, err := route.ParseWindows(v.([]string))
			if err != nil {
				return []fault{{0, mistake{err.Error(), windowHint}}}
			}
			*field(c) = w
			return nil
		},
		show: func(c *Config) string { return quoteList(windowTexts(*field(c))) },
	}
}

func windowTexts(w route.Windows) []string {
	if text := w.String(); text != "always" {
		return strings.Split(text, "; ")
	}
	return nil
}

const windowHint = `"22:00-06:00" is every night, "Sat,Sun" all day, and "never" alone is no time at all`

// atLeastOne is a list that must not be empty.
func atLeastOne(example string, k key) key {
	set := k.set
	k.set = func(c *Config, v any, at func(int) string) []fault {
		if len(v.([]string)) == 0 {
			return []fault{{0, mistake{"is empty", "write at least one, as in " + example}}}
		}
		return set(c, v, at)
	}
	return k
}

// defaultFetch is an entry of [[fetch]] with no key set.
func defaultFetch() Fetch { return Fetch{Every: 15 * time.Minute} }
