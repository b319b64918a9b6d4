package mailstore_test

import (
	"fmt"
	"io"
	"log"
	"os"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

// A message is delivered to a mailbox, listed and read.
func Example() {
	data, err := os.MkdirTemp("", "mailstore")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(data)
	root, err := durable.Open(data)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()
	const mailbox = "mailbox/office.example/P3_anna.mbx"
	if err := root.MkdirAll(mailbox, 0o700); err != nil {
		log.Fatal(err)
	}

	store, err := mailstore.Open(root, mailstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Recover(mailstore.RecoverOptions{}); err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	message := store.Create()
	defer message.Abort() // does nothing after Commit
	if _, err := io.WriteString(message, "Subject: Lunch\r\n\r\nAt noon?\r\n"); err != nil {
		log.Fatal(err)
	}
	if _, err := message.Commit([]string{mailbox}); err != nil {
		log.Fatal(err) // the message is in no mailbox
	}
	// The message is durable. An SMTP server replies 250 now.

	drop, err := store.OpenMaildrop(mailbox)
	if err != nil {
		log.Fatal(err)
	}
	defer drop.Close()
	for i, m := range drop.Messages() {
		content, err := drop.Open(i)
		if err != nil {
			log.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err != nil {
			log.Fatal(err)
		}
		content.Close()
		fmt.Printf("%d octets: %q\n", m.Size, text)
	}
	// Output:
	// 28 octets: "Subject: Lunch\r\n\r\nAt noon?\r\n"
}
