package web

import (
	"maps"
	"net/url"
	"sync"
	"testing"
	"time"

	"pillarbox/mailstore/directory"
)

// A session is for one mailbox, not for the next one of the same name, even if neither has a password
// here.
func TestProofOfAnotherMailbox(t *testing.T) {
	made := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	first := directory.Account{Created: made}
	if proofOf(first) != proofOf(directory.Account{Created: made.In(time.FixedZone("CET", 3600))}) {
		t.Error("the proof depends on the zone")
	}
	if proofOf(first) == proofOf(directory.Account{Created: made.Add(time.Second)}) {
		t.Error("another mailbox has the same proof")
	}
}

// A change of the second factor makes a new session. That is no new password: a stolen cookie must not
// stay fresh by one change after the other.
func TestRenewIsNoProof(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, "anna@office.example")
	o.giveFactor(t, "anna@office.example")
	s := o.site.sessionOf(t, "anna@office.example")
	box, err := o.service.Dir.Mailbox(s.user)
	if err != nil {
		t.Fatal(err)
	}
	s.proof = proofOf(box.Account)
	at := time.Now().Add(-freshTime + time.Minute)
	o.site.sessions.prove(s, at)
	b.post(factorPath, factorPath+"/codes", url.Values{})
	next := o.site.sessionOf(t, "anna@office.example")
	if next == s {
		t.Fatal("the session was not renewed")
	}
	if got := o.site.sessions.provedAt(next); !got.Equal(at) {
		t.Errorf("the password counts as given at %s, not at %s", got, at)
	}
}

// A recovery code, a code and a reset link count once, however many requests bring it at once.
func TestOnceInParallel(t *testing.T) {
	o := newOffice(t)
	secret, recovery := o.giveFactor(t, "anna@office.example")
	for name, form := range map[string]url.Values{
		"code":     {"code": {code(t, secret, time.Now().Add(30*time.Second))}},
		"recovery": {"recovery": {recovery[0]}},
	} {
		var browsers []*browser
		for range 4 {
			browsers = append(browsers, o.halfWay(t, "anna@office.example"))
		}
		var wg sync.WaitGroup
		for _, b := range browsers {
			wg.Go(func() { b.post("/login/code", "/login/code", maps.Clone(form)) })
		}
		wg.Wait()
		in := 0
		for _, b := range browsers {
			if res, _ := b.get("/me"); res.StatusCode == 200 {
				in++
			}
		}
		if in != 1 {
			t.Errorf("the %s opened %d sessions", name, in)
		}
	}
}
