package dkim

import (
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

func TestSignatureLinear(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	k := Open(root)
	if _, err := k.Create("office.example", "s", Ed25519, time.Now()); err != nil {
		t.Fatal(err)
	}
	mailtest.Linear(t, func(text string) {
		k.Signature("office.example", strings.NewReader(text))
	}, mailtest.Headers("From", "To")...)
}
