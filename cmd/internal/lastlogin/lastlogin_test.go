package lastlogin

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/durable"
)

var anna, boss = addr.Address{Local: "anna", Domain: "office.example"}, addr.Address{Local: "boss", Domain: "office.example"}

func all(addr.Address, string) bool { return true }

// login adds a login to a mailbox.
func login(k *Keeper, service auth.Service, mailbox addr.Address) {
	k.Add(auth.Client{Service: service}, auth.Principal{Address: mailbox, Password: true})
}

func data(t *testing.T) (durable.FS, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, filepath.Join(dir, File)
}

// want compares what a keeper says about anna with "service time", or "" for no login.
func want(t *testing.T, k *Keeper, a addr.Address, made time.Time, want string) {
	t.Helper()
	find, err := k.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	if l, ok := find(a, "", made); ok {
		got = string(l.Service) + " " + l.Time.Format(time.TimeOnly)
	}
	if got != want {
		t.Errorf("%s: %q, want %q", a, got, want)
	}
}

// The file is written once an hour, whatever the number of logins, and by the last Write. The time
// begins at midnight.
func TestWritesOnceAnHour(t *testing.T) {
	fsys, file := data(t)
	synctest.Test(t, func(t *testing.T) {
		k := Open(fsys)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx, all, new(mailtest.Log).Logger()) }()
		writes := 0
		var last os.FileInfo
		for range 3 * 60 { // two mailboxes are polled each minute for three hours
			login(k, auth.ServicePOP3, anna)
			login(k, auth.ServiceSMTP, boss)
			time.Sleep(time.Minute)
			synctest.Wait()
			if info, err := os.Stat(file); err == nil && (last == nil || !os.SameFile(info, last)) {
				writes, last = writes+1, info
			}
		}
		if writes != 3 {
			t.Errorf("%d writes", writes)
		}
		if mode := last.Mode().Perm(); mode != 0o600 {
			t.Errorf("mode %o", mode)
		}
		want(t, k, anna, time.Time{}, "pop3 02:59:00")
		login(k, auth.ServiceSMTP, anna)
		want(t, k, anna, time.Time{}, "smtp 03:00:00")
		want(t, Open(fsys), anna, time.Time{}, "pop3 02:59:00") // the file only
		cancel()
		<-done
		if err := k.Write(all); err != nil || len(k.seen) > 0 {
			t.Error(err, k.seen)
		}
		want(t, Open(fsys), anna, time.Time{}, "smtp 03:00:00")
		want(t, Open(fsys), boss, time.Time{}, "smtp 02:59:00")
	})
}

// A server without logins writes nothing.
func TestNothingToWrite(t *testing.T) {
	fsys, file := data(t)
	if err := Open(fsys).Write(all); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A login belongs to a mailbox: another one of the same name does not inherit it, a rename takes it
// along, and that of a mailbox that is gone leaves the file.
func TestFollowsMailboxes(t *testing.T) {
	fsys, file := data(t)
	synctest.Test(t, func(t *testing.T) {
		k := Open(fsys)
		made := time.Now()
		login(k, auth.ServicePOP3, anna)
		want(t, k, addr.Address{Local: "Anna", Domain: "office.example"}, made, "pop3 00:00:00")
		want(t, k, anna, made.Add(time.Second), "")
		carl := addr.Address{Local: "carl", Domain: "office.example"}
		if err := errors.Join(k.Rename(anna, carl), k.Write(all)); err != nil {
			t.Error(err)
		}
		want(t, k, anna, made, "")
		want(t, k, carl, made, "pop3 00:00:00")
		if err := k.Rename(carl, anna); err != nil { // in the file
			t.Error(err)
		}
		want(t, Open(fsys), carl, made, "")
		want(t, Open(fsys), anna, made, "pop3 00:00:00")
		login(k, auth.ServicePOP3, boss)
		if err := k.Write(func(a addr.Address, _ string) bool { return a == boss }); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(text), "anna") || !strings.Contains(string(text), "boss@office.example") {
			t.Errorf("%v\n%s", err, text)
		}
	})
}

// A file that cannot be read is not overwritten. Logins go on, and are written once it is repaired.
func TestDamaged(t *testing.T) {
	fsys, file := data(t)
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := Open(fsys)
		var log mailtest.Log
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go k.Run(ctx, all, log.Logger())
		login(k, auth.ServicePOP3, anna)
		time.Sleep(2*time.Hour + time.Minute)
		if text, _ := os.ReadFile(file); string(text) != "{" || k.Check() == nil {
			t.Errorf("overwritten: %s", text)
		}
		find, err := k.Snapshot()
		if _, ok := find(anna, "", time.Time{}); !ok || err == nil {
			t.Error("the login is not remembered", err)
		}
		if err := os.WriteFile(file, []byte(`{"logins": {}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		want(t, Open(fsys), anna, time.Time{}, "pop3 00:00:00")
		lines := log.Take()
		if n := strings.Count(lines, "level=ERROR"); n != 1 || !strings.Contains(lines, "are written again") {
			t.Errorf("%d errors\n%s", n, lines)
		}
	})
}

// Ten thousand mailboxes are a small file.
func TestSize(t *testing.T) {
	fsys, file := data(t)
	k := Open(fsys)
	for i := range 10_000 {
		login(k, auth.ServicePOP3, addr.Address{Local: "user" + string(rune('a'+i%26)) + time.Duration(i).String(), Domain: "office.example"})
	}
	if err := k.Write(all); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	var c content
	if err = errors.Join(err, json.Unmarshal(text, &c)); err != nil || len(c.Logins) != 10_000 || len(text) > 2<<20 {
		t.Errorf("%d logins in %d octets, %v", len(c.Logins), len(text), err)
	}
}

// An app password has its own last use, with the address. It moves with its mailbox, and leaves the
// file when it is removed.
func TestAppPasswords(t *testing.T) {
	fsys, file := data(t)
	carl := addr.Address{Local: "carl", Domain: "office.example"}
	k := Open(fsys)
	use := func(k *Keeper, mailbox addr.Address, app string) string {
		find, err := k.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		l, ok := find(mailbox, app, time.Time{})
		if !ok {
			return ""
		}
		return string(l.Service) + " " + l.Remote.String()
	}
	pc := auth.Client{Service: auth.ServicePOP3, Remote: netip.MustParseAddr("192.168.1.7")}
	k.Add(pc, auth.Principal{Address: anna, App: "abcd"})
	login(k, auth.ServiceSMTP, anna)
	k.Add(pc, auth.Principal{Address: carl, App: "old2"}) // an earlier mailbox of that name
	if err := k.Write(all); err != nil {
		t.Fatal(err)
	}
	k.Add(pc, auth.Principal{Address: anna, App: "efgh"})
	if err := k.Rename(anna, carl); err != nil {
		t.Fatal(err)
	}
	for app, want := range map[string]string{"abcd": "pop3 192.168.1.7", "efgh": "pop3 192.168.1.7", "old2": "", "": "pop3 invalid IP"} {
		if got := use(k, carl, app); got != want {
			t.Errorf("%q: %q, want %q", app, got, want)
		}
	}
	if got := use(k, anna, "abcd"); got != "" {
		t.Errorf("the old name keeps %q", got)
	}
	if err := k.Write(func(a addr.Address, app string) bool { return app != "abcd" }); err != nil {
		t.Fatal(err)
	}
	if got := use(Open(fsys), carl, "abcd"); got != "" {
		t.Errorf("a removed app password keeps %q", got)
	}
	if got := use(Open(fsys), carl, "efgh"); got != "pop3 192.168.1.7" {
		t.Errorf("in the file: %q", got)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "remote_ip") != 1 {
		t.Errorf("addresses of logins with the password of the mailbox: %s, %v", text, err)
	}
}
