package sessions

import (
	"crypto/tls"
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var client = netip.MustParseAddrPort("192.0.2.7:40000")

// A session is listed with what it told, from Begin to End.
func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		first := table.Begin("smtp", client, nil)
		begun := time.Now()
		second := table.Begin("pop3", client, nil)
		time.Sleep(3 * time.Second)
		first.SetState(Receiving)
		first.SetUser("anna@office.example")
		first.SetHelo("pc")
		first.SetTLS(&tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256})
		first.AddIn(10)
		first.AddIn(5)
		first.AddOut(7)
		first.AddMessage()
		got := table.List()
		want := Info{
			ID: 1, Service: "smtp", Remote: client.Addr(), Port: 40000, User: "anna@office.example",
			Helo: "pc", TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256", State: Receiving, StateSince: begun.Add(3 * time.Second),
			Since: begun, In: 15, Out: 7, Messages: 1,
		}
		if len(got) != 2 || !got[0].Since.Equal(want.Since) || !got[0].StateSince.Equal(want.StateSince) {
			t.Fatalf("%+v", got)
		}
		got[0].Since, got[0].StateSince = want.Since, want.StateSince
		if got[0] != want {
			t.Errorf("%+v, want %+v", got[0], want)
		}
		if got[1].ID != 2 || got[1].State != Greeting || !got[1].StateSince.Equal(begun) {
			t.Errorf("%+v", got[1])
		}
		first.End()
		if got := table.Count(); len(got) != 1 || got["pop3"] != 1 {
			t.Errorf("after the end of the first: %v", got)
		}
		second.End()
		if third := table.Begin("smtp", client, nil); third.ID() != 3 {
			t.Errorf("the number of the third is %d", third.ID())
		}
	})
}

// Kill calls the function of the session once. A session that has ended cannot be killed.
func TestKill(t *testing.T) {
	var table Table
	calls := 0
	var s *Session
	s = table.Begin("smtp", client, func() {
		if !s.Killed() {
			t.Error("Killed is false in kill")
		}
		calls++
	})
	if table.Kill(7) != nil || s.Killed() {
		t.Error("a session was killed by the number of another")
	}
	first, second := table.Kill(1), table.Kill(1)
	if first != s || second != s || calls != 1 || !table.List()[0].Killed {
		t.Errorf("%d calls", calls)
	}
	s.End()
	<-s.Ended()
	if table.Kill(1) != nil {
		t.Error("a session that has ended was killed")
	}
}

// Whoever waits for the end of a session finds it in no list.
func TestEnded(t *testing.T) {
	var table Table
	for range 2000 {
		s := table.Begin("smtp", client, nil)
		go s.End()
		<-s.Ended()
		if left := table.List(); len(left) > 0 {
			t.Fatalf("%+v is still listed", left[0])
		}
	}
}

// Without a table a session can be used as well.
func TestNoTable(t *testing.T) {
	var table *Table
	s := table.Begin("smtp", client, nil)
	s.SetState(Idle)
	if s.ID() != 0 || s.Killed() {
		t.Error(s.Info())
	}
	s.End()
}

// A list, an end and a kill may come at any time. The race detector looks at this test.
func TestConcurrent(t *testing.T) {
	var table Table
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				killed := make(chan struct{}, 1)
				s := table.Begin("smtp", client, func() { killed <- struct{}{} })
				s.SetState(Idle)
				s.SetUser("anna")
				s.AddIn(1)
				if s.Killed() {
					<-killed
				}
				s.End()
			}
		})
		all.Go(func() {
			for range 200 {
				for _, info := range table.List() {
					if s := table.Kill(info.ID); s != nil && s.ID() != info.ID {
						t.Errorf("killed %d for %d", s.ID(), info.ID)
					}
				}
			}
		})
	}
	all.Wait()
	if left := table.List(); len(left) > 0 || len(table.Count()) > 0 {
		t.Errorf("%d sessions are left", len(left))
	}
}

// The fields of the JSON form are a promise to scripts.
func TestJSON(t *testing.T) {
	text, err := json.Marshal(Info{Remote: client.Addr(), State: Processing})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "service", "remote_ip", "remote_port", "user", "helo", "tls",
		"state", "state_since", "since", "octets_in", "octets_out", "messages", "killed"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("%s is missing in %s", name, text)
		}
	}
	var back Info
	if err := json.Unmarshal(text, &back); err != nil || back.State != Processing {
		t.Errorf("%v, %v", back.State, err)
	}
	if slices.Contains(stateNames[:], "") {
		t.Error("a state has no name")
	}
}
