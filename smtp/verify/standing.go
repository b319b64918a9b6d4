package verify

import (
	"context"
	"net/netip"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// Standing returns what the results prove about a reverse-path. DMARC vouches for the domain in
// From, which may differ from that of the reverse-path: a client that signs with its own domain
// could name any victim there.
func (r Results) Standing(from addr.Address) smtp.Standing {
	switch {
	case from.IsZero():
	case r.SPF.Value == Pass && r.SPF.Identity == "mailfrom" && r.SPF.Domain == from.Domain:
		return smtp.StandingSPF
	case r.DMARC.Value == Pass && organization(r.DMARC.Domain) == organization(from.Domain):
		return smtp.StandingDMARC
	}
	return smtp.StandingNone
}

// Standing looks up what vouches for a reverse-path when the message is not available. Only SPF
// can.
func (v *Verifier) Standing(ctx context.Context, client netip.Addr, helo string,
	from addr.Address) smtp.Standing {
	if !client.IsValid() || from.IsZero() || from.Domain.IsLiteral() {
		return smtp.StandingNone
	}
	return v.Verify(ctx, Facts{IP: client, Helo: helo, From: from}).Standing(from)
}
