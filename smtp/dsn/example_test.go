package dsn_test

import (
	"bytes"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
)

// A report of failure for one recipient, after the next server refused the mailbox.
func Example() {
	reply := smtp.NewReply(550, [3]int{5, 1, 1}, "No such user here")
	refused := smtp.Result{Status: smtp.Failed, Reply: *reply, MTA: "mx.customer.example"}
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	bob := addr.Address{Local: "bob", Domain: "customer.example"}

	action := dsn.Required(smtp.Envelope{From: anna}, smtp.Recipient{Address: bob}, refused)
	report := dsn.Report{
		ID: "R0001", Hostname: "mail.office.example", To: anna,
		Now:        time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC),
		Recipients: []dsn.Recipient{{Final: bob, Action: action, Result: refused}},
	}
	var message bytes.Buffer
	if err := dsn.Compose(&message, report); err != nil {
		fmt.Println(err)
		return
	}

	_, status, _ := strings.Cut(message.String(), "Content-Type: message/delivery-status")
	status, _, _ = strings.Cut(status, "--=_")
	fmt.Println(strings.TrimSpace(strings.ReplaceAll(status, "\r\n", "\n")))
	parsed, err := mail.ReadMessage(&message)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println()
	fmt.Println("Subject:", parsed.Header.Get("Subject"))
	fmt.Println("To:", parsed.Header.Get("To"))
	// Output:
	// Reporting-MTA: dns; mail.office.example
	//
	// Final-Recipient: rfc822; bob@customer.example
	// Action: failed
	// Status: 5.1.1
	// Remote-MTA: dns; mx.customer.example
	// Diagnostic-Code: smtp; 550 5.1.1 No such user here
	//
	// Subject: Not delivered
	// To: <anna@office.example>
}
