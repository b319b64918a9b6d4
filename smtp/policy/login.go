package policy

import "pillarbox/smtp"

// LogIns sets where a password may cross the network unencrypted.
type LogIns struct {
	PlaintextNetworks HostList
}

// plaintextLogin demands TLS for a password, except from the networks and devices that are set.
func (r *Rules) plaintextLogin(d *Decision, f *Facts) bool {
	if f.TLSVersion != 0 {
		d.step("TLS", "", "the connection", "is encrypted")
		return true
	}
	d.step("TLS", "", "the connection", "is not encrypted")
	if line, ok := r.LogIns.PlaintextNetworks.Match(f.Remote, f.name()); ok {
		d.step("auth.plaintext_networks", line.Origin, line.Text, matches)
		return true
	}
	d.step("auth.plaintext_networks", "", f.Remote.String(), notInList)
	if f.Device != nil && f.Device.AllowPlaintext {
		d.step("device", "devices.json", f.Device.Name, "may log in without TLS")
		return true
	}
	return d.refuse(smtp.NewReply(538, [3]int{5, 7, 11},
		"Encryption is required to log in: turn on TLS (STARTTLS) in your mail program"),
		"use TLS, or add \""+f.Remote.String()+"\" to auth.plaintext_networks")
}
