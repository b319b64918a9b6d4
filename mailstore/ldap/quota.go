package ldap

import (
	"math"
	"strconv"
	"strings"

	ldapv3 "github.com/go-ldap/ldap/v3"
)

// octets is the size of a unit.
func (u Unit) octets() int64 {
	switch u {
	case Kilobytes:
		return 1 << 10
	case Megabytes:
		return 1 << 20
	}
	return 1
}

// quota returns the quota of an entry in octets, or 0 if it has none or an invalid one.
func (d *Directory) quota(e *ldapv3.Entry) int64 {
	if d.cfg.QuotaAttr == "" {
		return 0
	}
	text := e.GetEqualFoldAttributeValue(d.cfg.QuotaAttr)
	if text == "" {
		return 0
	}
	n, ok := parseQuota(text, d.cfg.QuotaUnit)
	if !ok {
		d.log.Warn("directory entry with an invalid quota", "entry", e.DN,
			"attribute", d.cfg.QuotaAttr, "value", excerpt(text))
	}
	return n
}

// parseQuota parses a number, or the size in a Maildir++ quota such as "52428800S,1000C".
func parseQuota(text string, unit Unit) (int64, bool) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if strings.HasSuffix(part, "C") { // number of messages
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(part, "S"), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.octets() {
			return 0, false
		}
		return n * unit.octets(), true
	}
	return 0, true
}
