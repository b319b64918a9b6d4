package admin

import (
	"context"
	"errors"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/server"
	"pillarbox/smtp/srs"
	"pillarbox/smtp/verify"
)

// standingTimeout limits the DNS look-ups that decide whether a remote sender gets a report. The
// sender may have made its DNS slow.
const standingTimeout = 3 * time.Second

// forwardedSender returns the sender that a rewritten address stands for. A report comes back to it.
func (o *Service) forwardedSender(a addr.Address) (sender addr.Address, ok bool, err error) {
	if !srs.Is(a.Local) {
		return sender, false, nil
	}
	sender, err = o.SRS.Reverse(a, time.Now())
	if errors.Is(err, srs.ErrForged) || errors.Is(err, srs.ErrExpired) {
		if o.log != nil {
			o.log.Info("rewritten sender not accepted", "to", a.String(), "reason", err)
		}
		return addr.Address{}, true, nil
	}
	return sender, true, err
}

// rewriteSender rewrites a remote sender into an address of a domain here.
func (o *Service) rewriteSender(from addr.Address, domain addr.Domain) (addr.Address, error) {
	return o.SRS.Forward(from, domain, time.Now())
}

// DeliveryConfig returns the configuration of what delivers and reports. names answers for the
// domains of strangers; nil: the DNS servers of the configuration do.
func (o *Service) DeliveryConfig(cfg *config.Config, names verify.Resolver) delivery.Config {
	null := map[config.NullSender]delivery.NullSender{
		config.NullToBadmail: delivery.ToBadmail,
		config.NullSend:      delivery.ToPostmaster,
		config.NullDrop:      delivery.Discard,
	}
	strangers := map[config.Strangers]delivery.Strangers{
		config.NoStrangers:       delivery.NoStrangers,
		config.VerifiedStrangers: delivery.VerifiedStrangers,
		config.AllStrangers:      delivery.AllStrangers,
	}
	verifier := verify.New(verify.Options{
		Resolver: names, Servers: DNSOptions(cfg).Servers, Timeout: standingTimeout,
	})
	var rewrite func(from addr.Address, domain addr.Domain) (addr.Address, error)
	if cfg.Outbound.SRS {
		rewrite = o.rewriteSender
	}
	return delivery.Config{
		MayLeave:        o.mayLeave(cfg),
		ForwardsPerHour: cfg.Policy.Outside.PerHour.Value,

		Rewrite:        rewrite,
		Hostname:       string(cfg.Hostname),
		RefuseGroups:   cfg.Policy.Recipients.DenyGroups.Value == policy.DenyAll,
		Language:       dsn.Language(cfg.Reports.Language),
		From:           cfg.Reports.From,
		CopyTo:         cfg.Reports.CopyTo,
		MaxReturn:      cfg.Reports.MaxReturn,
		Success:        cfg.Reports.Success,
		Relayed:        cfg.Reports.Relayed,
		NullSender:     null[cfg.Reports.NullSender],
		DeferOverQuota: cfg.Mailboxes.OverQuota == config.DeferOverQuota,
		Strangers:      strangers[cfg.Reports.Strangers],
		PerAddress:     cfg.Reports.PerAddress,
		PerHour:        cfg.Reports.PerHour,
		Vouch: func(from *queue.Source, sender addr.Address) smtp.Standing {
			return verifier.Standing(context.Background(), from.Remote, from.Helo, sender)
		},
	}
}

// mayLeave returns a function that reports whether a rule of a mailbox may send mail of a user here,
// or of nobody here, to other servers. A user whose rights cannot be read may not.
func (o *Service) mayLeave(cfg *config.Config) func(addr.Address) bool {
	gather := server.Gatherer{Dir: o.Dir, Rules: &cfg.Policy}
	return func(user addr.Address) bool {
		var f policy.Facts
		if !user.IsZero() {
			if err := gather.User(&f, user); err != nil {
				return false
			}
		}
		return cfg.Policy.MayLeave(f.User)
	}
}
