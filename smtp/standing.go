package smtp

// Standing says how it was verified that a message comes from its reverse-path. Clients can write
// any address there. Only verified senders get reports: others would get mail that they did not
// cause, with a subject that an attacker chose.
type Standing string

// The standings. The queue stores a message's standing with it.
const (
	StandingUnknown Standing = ""         // not determined, as in messages of old versions
	StandingLogin   Standing = "login"    // the client was logged in
	StandingLocal   Standing = "office"   // local address, from a device, a program here or a trusted host
	StandingSPF     Standing = "spf"      // the domain's SPF record permits the client
	StandingDMARC   Standing = "dmarc"    // the message passed DMARC
	StandingNone    Standing = "stranger" // not verified
)
