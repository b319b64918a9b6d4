package server

import (
	"context"
	"fmt"
	"io"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/verify"
)

// checksSender reports whether the message is checked by SPF, DKIM and DMARC. Only mail of
// strangers is.
func (s *session) checksSender() bool {
	return s.facts.Service == smtp.MTA && s.account().IsZero() && s.facts.Device == nil &&
		s.cfg.Verifier != nil && !s.cfg.Checks.Off()
}

// receiveChecked receives a message into a draft, verifies it, and writes it with the results on
// top. The results depend on the whole message, so the first line cannot be written before.
func (s *session) receiveChecked(in *mailstore.Incoming, fields []byte, head *header, body io.WriterTo) error {
	draft := s.srv.Store.Create()
	defer draft.Abort()
	if err := writeAll(draft, nil, head.octets, body); err != nil {
		return err
	}
	results, err := s.verify(draft, head)
	if err != nil {
		return err
	}
	s.vouched = results.Standing(s.env.From)
	if r := verify.Decide(s.cfg.Checks, results); r != nil {
		return s.refuseForged(r, results)
	}
	text, err := draft.Reader()
	if err != nil {
		return err
	}
	defer text.Close()
	if _, err := in.Write(append(fields, results.Header(s.cfg.Wire.Hostname)...)); err != nil {
		return err
	}
	_, err = io.Copy(in, text)
	return err
}

func (s *session) verify(draft *mailstore.Incoming, head *header) (verify.Results, error) {
	text, err := draft.Reader()
	if err != nil {
		return verify.Results{}, err
	}
	defer text.Close()
	helo, _ := s.conn.Helo()
	return s.cfg.Verifier.Verify(context.Background(), verify.Facts{
		IP: s.remote.Addr(), Helo: helo, From: s.env.From, HeaderFrom: head.authors(), Message: text,
	}), nil
}

// authors returns the addresses in the From fields that can be parsed.
func (h *header) authors() (all []addr.Address) {
	for _, value := range h.from {
		list, _ := parseAddresses(string(value))
		all = append(all, list...)
	}
	return all
}

// refuseForged logs the refusal of a message that failed the checks, and returns the reply with its
// trace id.
func (s *session) refuseForged(r *smtp.Reply, results verify.Results) *smtp.Reply {
	found := fmt.Sprintf("SPF %s, DMARC %s, %d signatures", results.SPF.Value, results.DMARC.Value, len(results.DKIM))
	return s.logRefusal(policy.Decision{Verdict: policy.Refuse, Stage: "message", Reply: r, Steps: []policy.Step{
		{Rule: "authenticity", Subject: s.env.From.String(), Outcome: found},
	}}, r)
}
