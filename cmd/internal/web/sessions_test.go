package web

import (
	"fmt"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
)

func person(n int) addr.Address {
	return addr.Address{Local: fmt.Sprintf("user%d", n), Domain: "office.example"}
}

func TestSessions(t *testing.T) {
	var sessions table
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	begin := func(n int) string {
		return sessions.begin(&session{user: person(n), idle: time.Hour, age: 3 * time.Hour}, now)
	}
	first := begin(1)
	now = now.Add(59 * time.Minute)
	if sessions.find(first, now) == nil || sessions.find("other", now) != nil {
		t.Fatal("not found, or found by another cookie")
	}
	now = now.Add(59 * time.Minute)
	if sessions.find(first, now) == nil {
		t.Error("use does not keep it")
	}
	now = now.Add(time.Hour)
	if sessions.find(first, now) != nil {
		t.Error("it lives on without use")
	}
	second := begin(1)
	for range 3 {
		now = now.Add(50 * time.Minute)
		sessions.find(second, now)
	}
	now = now.Add(30 * time.Minute)
	if sessions.find(second, now) != nil {
		t.Error("it lives for ever with use")
	}
}

// The session that was not used for the longest time makes room.
func TestSessionLimits(t *testing.T) {
	var sessions table
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	begin := func(n int) string {
		now = now.Add(time.Millisecond)
		return sessions.begin(&session{user: person(n), idle: time.Hour, age: time.Hour}, now)
	}
	first, second := begin(1), begin(1)
	sessions.find(first, now.Add(time.Millisecond))
	now = now.Add(time.Second)
	for range maxUserSessions - 1 {
		begin(1)
	}
	if sessions.find(first, now) == nil || sessions.find(second, now) != nil {
		t.Error("the wrong session of the user made room")
	}
	for n := range maxSessions + 10 {
		begin(n + 2)
	}
	if n := len(sessions.live); n != maxSessions {
		t.Errorf("%d sessions", n)
	}
}
