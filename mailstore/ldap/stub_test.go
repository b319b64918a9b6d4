package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	ldapv3 "github.com/go-ldap/ldap/v3"
)

// world simulates servers over pipes: the hosts, their states, and the contents of their common
// directory.
type world struct {
	mu         sync.Mutex
	state      map[string]string              // by host: "up", "refused", "blackhole" (no answer to a SYN), "hanging" (connects and says nothing)
	dials      map[string]int                 // by host
	binds      []string                       // names
	searches   []string                       // filters
	password   map[string]string              // by DN or whatever one logs in as
	refuse     map[string]ldapv3.Error        // of a bind, by name
	entries    map[string][]map[string]string // by filter; "dn" among the attributes
	byDN       map[string]map[string]string   // found by their names
	refers     string                         // a name that another server has
	slow       time.Duration                  // of every search
	open       []net.Conn
	busy, peak int // searches under way
}

func newWorld() *world {
	return &world{
		state: map[string]string{}, dials: map[string]int{}, password: map[string]string{},
		refuse: map[string]ldapv3.Error{}, entries: map[string][]map[string]string{},
	}
}

func (w *world) set(host, state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state[host] = state
}

// cut closes every connection.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
}

func (w *world) dialed(host string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[host]
}

func (w *world) counts() (binds, searches int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.binds), len(w.searches)
}

func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	w.mu.Lock()
	w.dials[host]++
	state := w.state[host]
	w.mu.Unlock()
	switch state {
	case "refused":
		return nil, errors.New("connection refused")
	case "blackhole":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	w.mu.Lock()
	w.open = append(w.open, theirs)
	w.mu.Unlock()
	go w.serve(host, theirs)
	return ours, nil
}

func (w *world) serve(host string, c net.Conn) {
	defer c.Close()
	for {
		request, err := ber.ReadPacket(c)
		if err != nil {
			return
		}
		w.mu.Lock()
		state := w.state[host]
		w.mu.Unlock()
		if state == "hanging" {
			continue
		}
		for _, answer := range w.answer(request) {
			if _, err := c.Write(answer.Bytes()); err != nil {
				return
			}
		}
	}
}

func (w *world) answer(request *ber.Packet) []*ber.Packet {
	id, op := request.Children[0].Value.(int64), request.Children[1]
	message := func(tag ber.Tag, children ...*ber.Packet) *ber.Packet {
		m := ber.NewSequence("")
		m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
		body := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
		for _, child := range children {
			body.AppendChild(child)
		}
		m.AppendChild(body)
		return m
	}
	result := func(tag ber.Tag, code uint16, text string) *ber.Packet {
		return message(tag, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""), str(""), str(text))
	}
	switch op.Tag {
	case ldapv3.ApplicationBindRequest:
		name, password := string(op.Children[1].ByteValue), op.Children[2].Data.String()
		code, text := w.bind(name, password)
		return []*ber.Packet{result(ldapv3.ApplicationBindResponse, code, text)}
	case ldapv3.ApplicationSearchRequest:
		filter, err := ldapv3.DecompileFilter(op.Children[6])
		if err != nil {
			filter = err.Error()
		}
		var all []*ber.Packet
		base := op.Children[0].Data.String()
		if base == w.refers && base != "" {
			return []*ber.Packet{result(ldapv3.ApplicationSearchResultDone, ldapv3.LDAPResultReferral, "")}
		}
		found := w.search(filter)
		if e, ok := w.byDN[base]; ok {
			found = []map[string]string{e}
		}
		for _, e := range found {
			attributes := ber.NewSequence("")
			for name, values := range e {
				if name == "dn" {
					continue
				}
				set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
				for v := range strings.SplitSeq(values, "|") {
					set.AppendChild(str(v))
				}
				one := ber.NewSequence("")
				one.AppendChild(str(name))
				one.AppendChild(set)
				attributes.AppendChild(one)
			}
			all = append(all, message(ldapv3.ApplicationSearchResultEntry, str(e["dn"]), attributes))
		}
		return append(all, result(ldapv3.ApplicationSearchResultDone, 0, ""))
	}
	return nil
}

func str(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func (w *world) bind(name, password string) (uint16, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.binds = append(w.binds, name)
	if e, ok := w.refuse[name]; ok {
		return e.ResultCode, e.Err.Error()
	}
	if right, ok := w.password[name]; ok && right == password || password == "" { // as real servers do
		return ldapv3.LDAPResultSuccess, ""
	}
	return ldapv3.LDAPResultInvalidCredentials, ""
}

func (w *world) search(filter string) []map[string]string {
	w.mu.Lock()
	w.searches = append(w.searches, filter)
	found, slow := w.entries[filter], w.slow
	w.busy++
	w.peak = max(w.peak, w.busy)
	w.mu.Unlock()
	time.Sleep(slow)
	w.mu.Lock()
	w.busy--
	w.mu.Unlock()
	return found
}

// office is a Directory of this world with one user.
func (w *world) office(t *testing.T, change func(*Config)) (*Directory, *lockedBuffer) {
	t.Helper()
	w.password["cn=search"] = "s"
	w.person("anna", "secret")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(lockedBuffer)
	cfg := Config{
		Name: "office", Servers: []string{"ldap://one", "ldap://two"}, BindDN: "cn=search", PasswordFile: file,
		Base: "dc=office", UserFilter: "(uid=%u)", AddressFilter: "(mail=%a)",
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.pool.dial = w.dial
	t.Cleanup(d.Close)
	return d, log
}

// person adds a user to the directory.
func (w *world) person(name, password string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dn := "uid=" + name + ",dc=office"
	w.password[dn] = password
	e := []map[string]string{{"dn": dn, "mail": fmt.Sprintf("%s@office.example", name)}}
	w.entries["(uid="+name+")"] = e
	w.entries["(mail="+name+"@office.example)"] = e
}

// remove deletes a user.
func (w *world) remove(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.password, "uid="+name+",dc=office")
	delete(w.entries, "(uid="+name+")")
	delete(w.entries, "(mail="+name+"@office.example)")
}
