package delivery

import (
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
)

// limitedAddresses is how many addresses the reports of the last hour are counted for.
const limitedAddresses = 10_000

// mayHear reports whether a sender with this standing is sent reports.
func mayHear(strangers Strangers, standing smtp.Standing) bool {
	switch standing {
	case smtp.StandingLogin, smtp.StandingLocal:
		return true
	case smtp.StandingSPF, smtp.StandingDMARC:
		return strangers != NoStrangers
	}
	return strangers == AllStrangers
}

// refusal says why the sender of a message is not sent a report; "": it is, and the report is counted. DNS is asked only
// now, and only where its answer decides.
func (d *Dispatcher) refusal(cfg *Config, it *queue.Item) (why string, err error) {
	hosted, err := d.Dir.Hosts(it.From.Domain)
	if err != nil {
		return "", err
	}
	standing := it.Source.StandingOf(hosted)
	if standing == smtp.StandingNone && cfg.Strangers == VerifiedStrangers && cfg.Vouch != nil {
		standing = cfg.Vouch(&it.Source, it.From)
	}
	switch {
	case !mayHear(cfg.Strangers, standing):
		return noStanding, nil
	case !d.mayReport(it, standing):
		return overLimit, nil
	}
	return "", nil
}

// Why a report is not sent.
const (
	noStanding = "the sender has no standing"
	overLimit  = "too many reports within the hour"
)

// suppress notes that a report is not sent.
func (d *Dispatcher) suppress(n queue.DSNRequest, to addr.Address, why string) {
	d.Log.Info("report not sent", "id", n.Item.ID, "report", n.Action, "to", to.String(), "reason", why, "suppressed", d.suppressed.Add(1))
}

// Suppressed is how many reports and notices were not sent since the start, for want of a sender with a standing or
// because there were too many.
func (d *Dispatcher) Suppressed() int64 { return d.suppressed.Load() }

// MayNotify counts a report or a notice to an address, or into mailboxes, and reports whether it is within the limits of an hour.
func (d *Dispatcher) MayNotify(to string) bool { return d.take(to, "office") }

// take counts a report to an address. Strangers have a total of their own: they must not be able to use up that of the
// office.
func (d *Dispatcher) take(to, whose string) bool {
	cfg := d.config.Load()
	return d.told.Take("to "+to, 1, cfg.PerAddress).OK && d.told.Take("all of "+whose, 1, cfg.PerHour).OK
}

// mayReport counts a report to the sender of a message.
func (d *Dispatcher) mayReport(it *queue.Item, standing smtp.Standing) bool {
	if standing == smtp.StandingLogin || standing == smtp.StandingLocal {
		return d.take(key(it.From), "office")
	}
	return d.take(key(it.From), "strangers")
}

func key(to addr.Address) string { return to.Fold().String() }

// SuppressNotice counts a notice that was beyond the limits.
func (d *Dispatcher) SuppressNotice() int64 { return d.suppressed.Add(1) }

// untold deals with a report whose reader must not be told. Mail that failed is not lost by that: it goes where mail
// without a sender goes. Success and delay are forgotten.
func (d *Dispatcher) untold(cfg *Config, n queue.DSNRequest, original opener, why string) error {
	d.suppress(n, n.Item.From, why)
	if n.Action != dsn.Failed {
		return nil
	}
	return d.unreportable(cfg, n, original, why)
}
