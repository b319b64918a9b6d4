package policy_test

import (
	"fmt"
	"net/netip"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
)

// A stranger asks the server to relay.
func Example() {
	hosts, _ := policy.ParseHosts([]policy.Line{{Text: "*", Origin: "default"}}, nil)
	rules := policy.Rules{Relay: policy.Relay{
		Enforcement: policy.Setting[policy.Enforcement]{Value: policy.EnforceExternal, Origin: "default"},
		DenyHosts:   hosts,
	}}
	facts := policy.Facts{
		Client: policy.Client{Remote: netip.MustParseAddr("198.51.100.7"), Helo: "mx.sender.example"},
		Transaction: policy.Transaction{
			From: addr.Address{Local: "a", Domain: "sender.example"},
			Recipient: policy.Recipient{
				To:   addr.Address{Local: "x", Domain: "remote.example"},
				Kind: policy.RecipientRemote,
			},
		},
	}
	decision := rules.Rcpt(&facts)
	fmt.Println(decision.Verdict, decision.Reply)
	for _, step := range decision.Steps {
		fmt.Println("-", step)
	}
	fmt.Println("To allow it:", decision.Remedy)
	// Output:
	// refuse 550 5.7.1 Unable to relay for x@remote.example
	// - local domains: remote.example is not delivered here
	// - relay.enforcement (default): 198.51.100.7 is an external host
	// - relay.deny_hosts (default): * matches
	// To allow it: log in, or add "198.51.100.7" to relay.allow_hosts, or make it a device (pillarbox admin device add NAME --ip 198.51.100.7 --may-send-to all)
}
