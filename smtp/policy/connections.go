package policy

import "pillarbox/smtp"

// Connections sets which hosts may connect.
type Connections struct {
	Only           Setting[bool] // only hosts in Allow may connect; false: all but Deny
	Allow, Deny    HostList
	VerifyHostname Setting[bool] // a client needs a name in DNS to send mail
	ReverseDNS     Setting[bool] // look up names for the Received header
}

// connectionLists applies the two lists. A host in both lists may connect, unless both have the
// same entry.
func (r *Rules) connectionLists(d *Decision, f *Facts) bool {
	c := &r.Connections
	refuse := func(line Line) bool {
		return d.refuse(smtp.NewReply(554, [3]int{5, 7, 1}, "Connections from %s are not accepted here", f.Remote),
			entryRemedy("connections", line, f.Remote.String()))
	}
	if line, ok := c.Allow.match(f.Remote, f.name(), &c.Deny.index); ok {
		d.step("connections.allow", line.Origin, line.Text, matches)
		return true
	} else if c.Allow.Len() > 0 {
		d.step("connections.allow", "", f.Remote.String(), noMatch)
	}
	if line, ok := c.Deny.Match(f.Remote, f.name()); ok {
		d.step("connections.deny", line.Origin, line.Text, matches)
		return refuse(line)
	} else if c.Deny.Len() > 0 {
		d.step("connections.deny", "", f.Remote.String(), noMatch)
	}
	if c.Only.Value {
		d.step("connections.mode", c.Only.Origin, "only", "admits the hosts in connections.allow")
		return refuse(Line{})
	}
	return true
}

// hostName is Domino's "Verify connecting hostname in DNS", which Domino checks at MAIL FROM. As
// in Domino, a host without a name may not send mail either if a connection list holds names.
func (r *Rules) hostName(d *Decision, f *Facts) bool {
	c := &r.Connections
	key, origin := "connections.verify_hostname", c.VerifyHostname.Origin
	switch {
	case !c.VerifyHostname.Value && !c.Allow.hasNames() && !c.Deny.hasNames():
		return true
	case f.NameState == NameVerified, f.NameState == NameUnverified && !c.VerifyHostname.Value:
		d.step(key, origin, f.Name, "is the client's name in DNS")
		return true
	case f.NameState == NameUnverified:
		d.step(key, origin, f.Name, "does not resolve to the client's address")
	default:
		d.step(key, origin, f.Remote.String(), "has no name in DNS, or DNS did not answer")
	}
	code, enhanced := 554, [3]int{5, 7, 25}
	if f.NameState == NameFailed {
		code, enhanced = 451, [3]int{4, 7, 25}
	}
	return d.refuse(smtp.NewReply(code, enhanced, "The name of your host %s could not be verified in DNS", f.Remote),
		"give "+f.Remote.String()+" a name in DNS, forward and reverse; or set connections.verify_hostname = false"+
			" and keep names out of the connection lists")
}
