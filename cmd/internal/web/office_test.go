package web

import (
	"fmt"
	"strings"
	"testing"
)

// A large group shows the first of its members, and its forms name the group.
func TestLargeGroup(t *testing.T) {
	o := newOffice(t)
	var members []string
	for n := range maxMembers + 2 {
		members = append(members, fmt.Sprintf("m%03d@remote.example", n))
	}
	if _, err := o.service.AddGroup("all@office.example", members...); err != nil {
		t.Fatal(err)
	}
	_, text := o.logIn(t, boss).get("/groups")
	for want, count := range map[string]int{
		`name="group" value="all@office.example"`: 4, `name="members" value="m0`: maxMembers,
		"102 members": 1, "2 more members:": 1, "admin group show all@office.example": 1, "value=\"m100": 0,
	} {
		if n := strings.Count(text, want); n != count {
			t.Errorf("%q is there %d times, want %d", want, n, count)
		}
	}
}
