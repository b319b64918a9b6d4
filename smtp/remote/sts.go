package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

const (
	maxPolicies   = 2000
	maxPolicySize = 64 << 10         // RFC 8461 §3.3
	maxPolicyAge  = 31557600         // seconds, RFC 8461 §3.2
	recheckPolicy = 5 * time.Minute  // minimum time between two lookups of a policy's id in DNS
	policyTimeout = 30 * time.Second // of its HTTPS request; RFC 8461 suggests a minute
	policyPath    = "/.well-known/mta-sts.txt"
)

// stsPolicy is a domain's policy for its servers (RFC 8461 §3.2).
type stsPolicy struct {
	mode   string   // enforce, testing, none
	mx     []string // host name patterns
	maxAge time.Duration
}

// parsePolicy parses the text of a policy.
func parsePolicy(text string) (*stsPolicy, error) {
	p, version := &stsPolicy{maxAge: -1}, ""
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if value = strings.TrimSpace(value); !ok {
			continue
		}
		switch strings.TrimSpace(key) {
		case "version":
			version = cmp.Or(version, value)
		case "mode":
			p.mode = cmp.Or(p.mode, value)
		case "mx":
			p.mx = append(p.mx, strings.ToLower(strings.TrimSuffix(value, ".")))
		case "max_age":
			seconds, err := strconv.ParseUint(value, 10, 63)
			if err != nil {
				return nil, errors.New("max_age is not a number")
			}
			p.maxAge = time.Duration(min(seconds, maxPolicyAge)) * time.Second
		}
	}
	switch {
	case version != "STSv1":
		return nil, errors.New("the version is not STSv1")
	case p.mode != "enforce" && p.mode != "testing" && p.mode != "none":
		return nil, errors.New("the mode must be enforce, testing or none")
	case p.maxAge < 0:
		return nil, errors.New("max_age is missing")
	case len(p.mx) == 0 && p.mode != "none":
		return nil, errors.New("mx is missing")
	}
	return p, nil
}

// names reports whether the policy permits a host (RFC 8461 §4.1).
func (p *stsPolicy) names(host string) bool {
	for _, pattern := range p.mx {
		if pattern == host {
			return true
		}
		_, parent, _ := strings.Cut(host, ".")
		if suffix, ok := strings.CutPrefix(pattern, "*."); ok && suffix == parent {
			return true
		}
	}
	return false
}

// FetchPolicy fetches the MTA-STS policy that a domain publishes at this moment, past all caches, for
// a check of one's own domain. names reports whether the policy permits a mail exchanger, in lower
// case. client is as in Options.HTTP; resolver finds the web server.
func FetchPolicy(
	ctx context.Context, client *http.Client, resolver *net.Resolver, domain addr.Domain,
) (mode string, names func(host string) bool, err error) {
	var p policies
	p.init(client, resolver)
	policy, err := p.fetch(ctx, domain)
	if err != nil {
		return "", nil, err
	}
	return policy.mode, policy.names, nil
}

// policies caches the policies of domains.
type policies struct {
	client *http.Client

	mu    sync.Mutex
	known map[addr.Domain]knownPolicy // guarded by mu
}

// knownPolicy is a cached policy, or its absence.
type knownPolicy struct {
	policy  *stsPolicy // nil: none
	id      string     // of the DNS record
	expires time.Time
	checked time.Time
}

func (p *policies) init(client *http.Client, resolver *net.Resolver) {
	p.client, p.known = client, make(map[addr.Domain]knownPolicy)
	if client == nil {
		p.client = &http.Client{Transport: &http.Transport{
			DialContext: (&net.Dialer{
				Resolver: resolver, Timeout: policyTimeout,
			}).DialContext,
			DisableKeepAlives: true,
		}}
	}
	own := *p.client
	own.Timeout = policyTimeout
	own.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // RFC 8461 §3.3
	}
	p.client = &own
}

// policyFor returns the policy of a domain. It is nil if there is none or if the route does not use
// MTA-STS. A cached policy stays valid if it cannot be fetched again.
func (r *Remote) policyFor(ctx context.Context, rt *route.Route, domain addr.Domain) *stsPolicy {
	if !rt.MTASTS || rt.TLS == route.TLSOff {
		return nil
	}
	p := &r.policies
	now := time.Now()
	p.mu.Lock()
	k := p.known[domain]
	p.mu.Unlock()
	if now.After(k.expires) {
		k = knownPolicy{}
	}
	if now.Before(k.checked.Add(recheckPolicy)) {
		return k.policy
	}
	k.checked = now
	if k.policy == nil {
		k.expires = now.Add(recheckPolicy)
	}
	if id := r.policyID(ctx, domain); id != "" && id != k.id {
		policy, err := p.fetch(ctx, domain)
		if err != nil {
			r.log.Warn("cannot fetch MTA-STS policy", "domain", domain, "error", err)
		} else {
			k.policy, k.id, k.expires = policy, id, now.Add(policy.maxAge)
		}
	}
	p.keep(domain, k, now)
	return k.policy
}

// keep stores a policy and limits the size of the cache: it drops expired entries first, then any.
func (p *policies) keep(domain addr.Domain, k knownPolicy, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxPolicies {
		for d, old := range p.known {
			if now.After(old.expires) {
				delete(p.known, d)
			}
		}
		for d := range p.known {
			if len(p.known) < maxPolicies {
				break
			}
			delete(p.known, d)
		}
	}
	p.known[domain] = k
}

// policyID returns the id in DNS, which changes with the policy, or "" if there is none.
func (r *Remote) policyID(ctx context.Context, domain addr.Domain) string {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	texts, err := r.resolver.LookupTXT(ctx, "_mta-sts."+string(domain)+".")
	if err != nil {
		return ""
	}
	id := ""
	for _, text := range texts {
		rest, ok := strings.CutPrefix(text, "v=STSv1;")
		if !ok {
			continue
		}
		if id != "" {
			return "" // RFC 8461 §3.1: two records count as none
		}
		for field := range strings.SplitSeq(rest, ";") {
			if value, ok := strings.CutPrefix(strings.TrimSpace(field), "id="); ok {
				id = value
			}
		}
	}
	return id
}

func (p *policies) fetch(ctx context.Context, domain addr.Domain) (*stsPolicy, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"https://mta-sts."+string(domain)+policyPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicySize+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxPolicySize:
		return nil, errors.New("it is too long")
	}
	return parsePolicy(string(text))
}
