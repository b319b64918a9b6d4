package durable_test

import (
	"fmt"
	"log"
	"os"

	"pillarbox/mailstore/durable"
)

// openTemp returns the tree below a new temporary directory.
func openTemp() (root *durable.Root, remove func()) {
	dir, err := os.MkdirTemp("", "durable")
	if err != nil {
		log.Fatal(err)
	}
	root, err = durable.Open(dir)
	if err != nil {
		log.Fatal(err)
	}
	return root, func() {
		root.Close()
		os.RemoveAll(dir)
	}
}

// When WriteFile returns nil, the content survives a power cut.
func ExampleWriteFile() {
	root, remove := openTemp()
	defer remove()
	if err := durable.WriteFile(root, "greeting", []byte("hello\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	text, err := durable.ReadFile(root, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", text)
	// Output: hello
}

// A record in the log makes a change durable before the change itself is synced.
func ExampleLog() {
	root, remove := openTemp()
	defer remove()
	set := func(record []byte) error {
		return durable.Replace(root, "counter", record, 0o600) // without a sync
	}

	l, err := durable.OpenLog(root, "log", durable.LogOptions{Segment: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Replay(set, root.SyncAll); err != nil {
		log.Fatal(err)
	}
	l.Announce()
	_, applied, err := l.Append(0, []byte("42"))
	if err != nil {
		log.Fatal(err)
	}
	if err := set([]byte("42")); err != nil {
		l.Stop() // keeps the record for the next Replay
	}
	applied()
	if err := l.Abandon(); err != nil { // as after a crash
		log.Fatal(err)
	}

	l, err = durable.OpenLog(root, "log", durable.LogOptions{Segment: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	again := func(record []byte) error {
		fmt.Printf("replayed %s\n", record)
		return set(record)
	}
	if err := l.Replay(again, root.SyncAll); err != nil {
		log.Fatal(err)
	}
	// Output: replayed 42
}
