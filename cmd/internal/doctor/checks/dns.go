package checks

import (
	"context"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/dnscheck"
	"pillarbox/cmd/internal/doctor"
	"pillarbox/cmd/internal/netinfo"
)

// record returns the check of one type of records.
func (e *Env) record(r dnscheck.Record) run {
	return e.online(func(ctx context.Context) findings {
		all, err := e.askDNS(ctx)
		if err != nil {
			return failed("DNS cannot be asked", err)
		}
		return judgeRecords(r, all)
	})
}

// askDNS asks DNS once, for all types of records.
func (e *Env) askDNS(ctx context.Context) ([]dnscheck.Finding, error) {
	const most = time.Minute // for all lookups
	if e.dns != nil {
		return e.dns, nil
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	interfaces, err := e.interfaces()
	if err != nil {
		return nil, err
	}
	domains, err := e.Data.Dir.Domains()
	if err != nil {
		return nil, err
	}
	keys, err := e.Data.ShowDKIM("", e.Now())
	if err != nil {
		return nil, err
	}
	s := admin.DNSServer(e.Config, netinfo.Addresses(interfaces), domains, keys)
	s.Policy = e.Policy
	e.dns = append(dnscheck.Run(ctx, e.Resolver, s), dnscheck.Trust(ctx, e.Resolver, s)...)
	return e.dns, nil
}

// judgeRecords returns the findings about one type of records.
func judgeRecords(r dnscheck.Record, all []dnscheck.Finding) (of findings) {
	for _, f := range all {
		switch {
		case f.Record != r:
		case f.Do == "":
			of = append(of, about(f.About, doctor.Finding{Severity: doctor.OK,
				Message: f.About + ": " + f.Found}))
		default:
			of = append(of, about(f.About, warning(f.Do, "%s: %s", f.About, f.Found)))
		}
	}
	return orOK(of, "nothing to check")
}
