package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// kind is how a value is written in the file.
type kind string

const (
	textKind   kind = "a string"
	listKind   kind = "a list of strings"
	numberKind kind = "a whole number"
)

// key is one setting: its name in the file, and the way to and from its field.
type key struct {
	name string
	kind kind

	// set parses a value, a string, []string or int64 as kind says, into the
	// field. Every mistake is reported; the field stays as it was after one.
	set func(c *Config, v any) []fault

	// show writes the field as it would be written in the file.
	show func(c *Config) string
}

// fault is one mistake in a value; item is the index in a list, else 0.
type fault struct {
	item int
	mistake
}

// keys is every setting there is, in the order of the sample.
func keys() []key {
	return []key{
		text("hostname", func(c *Config) *domain { return &c.Hostname }, hostName),
		text("data", func(c *Config) *string { return &c.Data }, filePath),
		text("default_domain", func(c *Config) *domain { return &c.DefaultDomain }, optional(hostedDomain)),
		text("postmaster", func(c *Config) *address { return &c.Postmaster }, optional(mailAddress)),

		list("listen.smtp", func(c *Config) *[]string { return &c.Listen.SMTP }, listenAddress(25)),
		list("listen.submission", func(c *Config) *[]string { return &c.Listen.Submission }, listenAddress(587)),
		list("listen.smtps", func(c *Config) *[]string { return &c.Listen.SMTPS }, listenAddress(465)),
		list("listen.pop3", func(c *Config) *[]string { return &c.Listen.POP3 }, listenAddress(110)),
		list("listen.pop3s", func(c *Config) *[]string { return &c.Listen.POP3S }, listenAddress(995)),

		text("tls.cert", func(c *Config) *string { return &c.TLS.Cert }, optional(filePath)),
		text("tls.key", func(c *Config) *string { return &c.TLS.Key }, optional(filePath)),
		text("tls.min_version", func(c *Config) *uint16 { return &c.TLS.MinVersion }, tlsVersion(
			choice[uint16]{"1.2", tls.VersionTLS12}, choice[uint16]{"1.3", tls.VersionTLS13})),

		list("auth.plaintext_networks", func(c *Config) *[]network { return &c.Auth.PlaintextNetworks }, trustedNetwork),

		text("smtp.greeting", func(c *Config) *string { return &c.SMTP.Greeting }, greeting("")),
		text("smtp.max_message_size", func(c *Config) *int64 { return &c.SMTP.MaxMessageSize }, size[int64](64<<10, 1<<40)),
		number("smtp.max_recipients", func(c *Config) *int { return &c.SMTP.MaxRecipients }, 1, 100_000),
		number("smtp.max_errors", func(c *Config) *int { return &c.SMTP.MaxErrors }, 1, 1000),
		text("smtp.command_timeout", func(c *Config) *duration { return &c.SMTP.CommandTimeout }, span("10s", "1h")),
		text("smtp.data_timeout", func(c *Config) *duration { return &c.SMTP.DataTimeout }, span("10s", "1h")),
		text("smtp.max_text_line", func(c *Config) *int { return &c.SMTP.MaxTextLine }, size[int](1000, 16<<20)),
		text("smtp.bare_line_endings", func(c *Config) *BareLineEndings { return &c.SMTP.BareLineEndings }, oneOf(
			choice[BareLineEndings]{"refuse", RefuseBare}, choice[BareLineEndings]{"normalise", NormaliseBare})),

		// An angle bracket would make clients take it for an APOP stamp (RFC 1939 §7).
		text("pop3.greeting", func(c *Config) *string { return &c.POP3.Greeting }, greeting("<>")),
		text("pop3.idle_timeout", func(c *Config) *duration { return &c.POP3.IdleTimeout }, span("10m", "24h")),
		number("pop3.max_errors", func(c *Config) *int { return &c.POP3.MaxErrors }, 1, 1000),

		number("limits.connections", func(c *Config) *int { return &c.Limits.Connections }, 1, 1_000_000),
		number("limits.connections_per_address", func(c *Config) *int { return &c.Limits.ConnectionsPerAddress }, 1, 1_000_000),

		text("mailboxes.plus_separator", func(c *Config) *string { return &c.Mailboxes.PlusSeparator }, optional(separator)),
		text("mailboxes.default_quota", func(c *Config) *int64 { return &c.Mailboxes.DefaultQuota }, size[int64](0, 1<<50)),

		text("log.level", func(c *Config) *slog.Level { return &c.Log.Level }, oneOf(
			choice[slog.Level]{"debug", slog.LevelDebug}, choice[slog.Level]{"info", slog.LevelInfo},
			choice[slog.Level]{"warn", slog.LevelWarn}, choice[slog.Level]{"error", slog.LevelError})),
		text("log.format", func(c *Config) *LogFormat { return &c.Log.Format }, oneOf(
			choice[LogFormat]{"text", TextLog}, choice[LogFormat]{"json", JSONLog})),
	}
}

// variable is the environment variable that overrides the key.
func (k key) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// section is the part of a key's name before its last dot, "" for none.
func section(name string) string {
	return name[:max(strings.LastIndexByte(name, '.'), 0)]
}

// leaf is the part of a key's name after its last dot.
func leaf(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}

// text is a key whose value is one string.
func text[T any](name string, field func(*Config) *T, as codec[T]) key {
	return key{
		name: name,
		kind: textKind,
		set: func(c *Config, v any) []fault {
			parsed, err := as.parse(v.(string))
			if err != nil {
				return []fault{{0, asMistake(err)}}
			}
			*field(c) = parsed
			return nil
		},
		show: func(c *Config) string { return quote(as.format(*field(c))) },
	}
}

// list is a key whose value is a list of strings.
func list[T any](name string, field func(*Config) *[]T, as codec[T]) key {
	return key{
		name: name,
		kind: listKind,
		set: func(c *Config, v any) (faults []fault) {
			var all []T
			for i, item := range v.([]string) {
				parsed, err := as.parse(item)
				if err != nil {
					faults = append(faults, fault{i, asMistake(err)})
				}
				all = append(all, parsed)
			}
			if faults == nil {
				*field(c) = all
			}
			return faults
		},
		show: func(c *Config) string {
			var items []string
			for _, item := range *field(c) {
				items = append(items, as.format(item))
			}
			return quoteList(items)
		},
	}
}

// number is a key whose value is a whole number within bounds.
func number(name string, field func(*Config) *int, low, high int64) key {
	return key{
		name: name,
		kind: numberKind,
		set: func(c *Config, v any) []fault {
			n := v.(int64)
			if n < low || n > high {
				return []fault{{0, mistake{
					fmt.Sprintf("%d is out of range", n),
					fmt.Sprintf("write a number from %d to %d", low, high)}}}
			}
			*field(c) = int(n)
			return nil
		},
		show: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

func asMistake(err error) mistake {
	if m, ok := errors.AsType[mistake](err); ok {
		return m
	}
	return mistake{what: err.Error()}
}

// Setting is one line of "config show".
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // as it would be written in the file
	Source string `json:"source"` // "default", "file:line" or "env NAME"
	Secret bool   `json:"secret"` // Value must not be shown; no key is secret so far
}

// Effective lists every setting in the order of the sample.
func (c *Config) Effective() []Setting {
	var all []Setting
	for _, k := range keys() {
		source := "default"
		if o, ok := c.origin[k.name]; ok {
			source = o.String()
		}
		all = append(all, Setting{Key: k.name, Value: k.show(c), Source: source})
	}
	return all
}

// Diff lists the keys whose values differ, in the order of the sample.
func Diff(old, new *Config) []string {
	var changed []string
	for _, k := range keys() {
		if k.show(old) != k.show(new) {
			changed = append(changed, k.name)
		}
	}
	return changed
}

// RestartKeys returns those of the changed keys that a running server cannot
// take over: it holds the lock of its data directory, it opened its listening
// sockets while it had the right to, and a log changes its form only as a whole.
func RestartKeys(changed []string) []string {
	return slices.DeleteFunc(slices.Clone(changed), func(name string) bool {
		return name != "data" && name != "log.format" && section(name) != "listen"
	})
}
