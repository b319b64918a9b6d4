package smtp

// Standing is what vouches that a message comes from the address in its reverse-path. A client can write any address
// there. So only a sender with a standing is sent a report: all others would get mail that they did not cause, with a
// subject that an attacker chose.
type Standing string

// The standings. What a message has is kept with it in the queue.
const (
	StandingUnknown Standing = ""         // not looked at, as by versions that did not keep it
	StandingLogin   Standing = "login"    // the client had logged in
	StandingLocal   Standing = "office"   // an address of ours, from a device, a program here, or a host that is trusted
	StandingSPF     Standing = "spf"      // the domain says by SPF that the client may send for it
	StandingDMARC   Standing = "dmarc"    // the domain vouches by DMARC
	StandingNone    Standing = "stranger" // none
)
