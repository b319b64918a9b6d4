package smtp

// Standing is what vouches that a message comes from the address in its reverse-path. Anybody can write any address
// there, so only a sender with a standing is sent a report: to all others it would be mail that they never asked for, in the
// words of whoever used their address (RFC 3464 §4, RFC 5321 §4.5.5 has the same care for the null reverse-path).
type Standing string

// The standings. What a message has is kept with it in the queue.
const (
	StandingUnknown  Standing = ""         // not looked at, as by versions that did not keep it
	StandingLogin    Standing = "login"    // the client had logged in
	StandingOffice   Standing = "office"   // an address of ours, from a device, a program here, or a host that is trusted
	StandingSPF      Standing = "spf"      // the domain says by SPF that the client may send for it
	StandingDMARC    Standing = "dmarc"    // the domain vouches by DMARC
	StandingStranger Standing = "stranger" // nothing does
)
