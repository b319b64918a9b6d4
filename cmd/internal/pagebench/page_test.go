package pagebench

import (
	"testing"
)

// pages are the lists of the page, and pages that look through the office.
func pages() []struct{ name, path string } {
	return []struct{ name, path string }{
		{"mailboxes", "/mailboxes"},
		{"mailboxes-last", "/mailboxes?page=999"},
		{"mailboxes-domain", "/mailboxes?domain=office.example"},
		{"mailboxes-find", "/mailboxes?find=user00001"},
		{"mailboxes-find-many", "/mailboxes?find=user"},
		{"mailboxes-locked", "/mailboxes?locked=yes"},
		{"mailbox-add", "/mailboxes/add"},
		{"mailbox", "/mailbox/user00000@office.example"},
		{"domains", "/domains"},
		{"groups", "/groups"},
		{"devices", "/devices"},
		{"queue", "/queue"},
		{"trace", "/trace?name=user00000@office.example"},
		{"sessions", "/sessions"},
		{"overview", "/overview"},
		{"audit", "/audit"},
		{"me", "/me"},
	}
}

// BenchmarkPage asks for each list of the page, over HTTPS, when the server has read the office once.
func BenchmarkPage(b *testing.B) {
	small := newOffice(b, size{mailboxes: 2, domains: 1})
	large := size{
		mailboxes: 50_000, domains: 1, groups: 500, aliases: 5000, devices: 200, queued: 1000,
		sessions: 300,
	}
	one := newOffice(b, large)
	large.domains = 500
	many := newOffice(b, large)
	for _, run := range []struct {
		name string
		*office
	}{{"one-domain", one}, {"500-domains", many}} {
		w, s := run.logIn(b), small.logIn(b)
		for _, p := range pages() {
			b.Run(run.name+"/"+p.name+"/pillarbox", func(b *testing.B) { ask(b, w, p.path) })
			b.Run(run.name+"/"+p.name+"/small", func(b *testing.B) { ask(b, s, p.path) })
		}
	}
}

func ask(b *testing.B, w *browser, path string) {
	w.get(b, path)
	for b.Loop() {
		w.get(b, path)
	}
}
