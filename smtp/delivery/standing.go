package delivery

import (
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
)

// limitedAddresses is how many addresses the rate limiter counts.
const limitedAddresses = 10_000

// mayGetReport reports whether senders with this standing get reports.
func mayGetReport(strangers Strangers, standing smtp.Standing) bool {
	switch standing {
	case smtp.StandingLogin, smtp.StandingLocal:
		return true
	case smtp.StandingSPF, smtp.StandingDMARC:
		return strangers != NoStrangers
	}
	return strangers == AllStrangers
}

// refusal returns why the sender of a message gets no report. If it is "", the sender may get one,
// and it is counted. DNS is queried only now, and only if the result decides.
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
	case !mayGetReport(cfg.Strangers, standing):
		return noStanding, nil
	case !d.mayReport(it, standing):
		return overLimit, nil
	}
	return "", nil
}

// Reasons for refusing a report.
const (
	noStanding = "the sender has no standing"
	overLimit  = "too many reports within the hour"
)

// suppress logs and counts a report that is not sent.
func (d *Dispatcher) suppress(req queue.DSNRequest, to addr.Address, why string) {
	d.Log.Info("report not sent", "message_id", req.Item.ID, "report", req.Action, "to", to.String(),
		"reason", why, "suppressed", d.suppressed.Add(1))
}

// Suppressed returns how many reports and notices were not sent since the start, because the sender
// was not verified or a limit was reached.
func (d *Dispatcher) Suppressed() int64 { return d.suppressed.Load() }

// MayNotify counts a report or notice to an address or to mailboxes. It reports whether the hourly
// limits permit it.
func (d *Dispatcher) MayNotify(to string) bool { return d.take(to, "local") }

// take counts a report to an address. Local and remote senders have separate totals, so that remote
// senders cannot use up the local total.
func (d *Dispatcher) take(to, whose string) bool {
	cfg := d.config.Load()
	return d.limiter.Take("to "+to, 1, cfg.PerAddress).OK &&
		d.limiter.Take("all of "+whose, 1, cfg.PerHour).OK
}

// mayReport counts a report to the sender of a message. It reports whether the limits permit it.
func (d *Dispatcher) mayReport(it *queue.Item, standing smtp.Standing) bool {
	if standing == smtp.StandingLogin || standing == smtp.StandingLocal {
		return d.take(key(it.From), "local")
	}
	return d.take(key(it.From), "remote")
}

func key(to addr.Address) string { return to.Fold().String() }

// SuppressNotice counts a notice that exceeded the limits, and returns the total.
func (d *Dispatcher) SuppressNotice() int64 { return d.suppressed.Add(1) }

// reportSuppressed handles a report that must not be sent. A failed message then goes where mail without a
// sender goes. Reports of success and delay are dropped.
func (d *Dispatcher) reportSuppressed(cfg *Config, req queue.DSNRequest, original opener, why string) error {
	d.suppress(req, req.Item.From, why)
	if req.Action != dsn.Failed {
		return nil
	}
	return d.unreportable(cfg, req, original, why)
}
