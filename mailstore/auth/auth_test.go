package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// accounts is a test double for the directory.
type accounts struct {
	mu    sync.Mutex
	boxes map[string]directory.Mailbox
	made  []addr.Address
	err   error
}

func (a *accounts) Login(name string) (directory.Mailbox, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return directory.Mailbox{}, a.err
	}
	box, ok := a.boxes[name]
	if !ok {
		return box, fmt.Errorf("mailbox %q: %w", name, directory.ErrNotFound)
	}
	return box, nil
}

func (a *accounts) UpdateAccount(who addr.Address, edit func(*directory.Account) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	box := a.boxes[who.Local]
	defer func() {
		a.boxes[who.Local] = box
		if whole, ok := a.boxes[who.String()]; ok { // the same, by its whole address
			whole.Account = box.Account
			a.boxes[who.String()] = whole
		}
	}()
	return edit(&box.Account)
}

func (a *accounts) Make(box directory.Mailbox) (directory.Mailbox, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made = append(a.made, box.Address)
	box.New = false
	a.boxes[box.Address.Local] = box
	return box, nil
}

func (a *accounts) StoredKinds() (sets [][]directory.SecretKind, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, box := range a.boxes {
		if !box.Locked {
			sets = append(sets, box.Account.Secrets.Kinds)
		}
	}
	return sets, nil
}

func (a *accounts) set(name, verifier string, locked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.boxes == nil {
		a.boxes = make(map[string]directory.Mailbox)
	}
	a.boxes[name] = directory.Mailbox{
		Address: addr.Address{Local: name, Domain: "office.example"},
		Dir:     "mailbox/office.example/P3_" + name + ".mbx",
		Account: directory.Account{Verifier: verifier, Locked: locked},
		Locked:  locked,
		Method:  directory.ByFile,
	}
}

// cheap is a fast verifier, for tests of everything but hashing.
func cheap(password string) string {
	v := verifier{memory: 8, time: 1, threads: 1, salt: []byte("somesalt"), key: make([]byte, 32)}
	v.key = v.derive(password)
	return v.String()
}

func newTest(t *testing.T) (*Authenticator, *accounts, *bytes.Buffer) {
	t.Helper()
	boxes := new(accounts)
	boxes.set("anna", cheap("secret"), false)
	boxes.set("boss", cheap("secret"), true)
	log := new(bytes.Buffer)
	a := New(boxes, Options{Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	a.dummyVerifier = verifier{memory: 8, time: 1, threads: 1, salt: a.dummyVerifier.salt, key: a.dummyVerifier.key}
	return a, boxes, log
}

var (
	here  = netip.MustParseAddr("192.168.1.10")
	there = netip.MustParseAddr("192.168.1.11")
)

// A mailbox has a right for each service. The refusal comes after a right password only, and by every
// mechanism.
func TestAccess(t *testing.T) {
	for _, tt := range []struct {
		access    directory.Access
		pop, smtp error
	}{
		{directory.AccessBoth, nil, nil}, {directory.AccessPOP3, nil, ErrAccess},
		{directory.AccessSMTP, ErrAccess, nil}, {directory.AccessNone, ErrAccess, ErrAccess},
	} {
		a, boxes, _ := newTest(t)
		box := boxes.boxes["anna"]
		box.Account.Access = tt.access
		boxes.boxes["anna"], boxes.boxes[box.Address.String()] = box, box
		for service, want := range map[Service]error{ServicePOP3: tt.pop, ServiceSMTP: tt.smtp} {
			c := Client{Service: service, Remote: here}
			p, err := a.Password(t.Context(), c, "anna", "secret")
			if !errors.Is(err, want) || want != nil && p != (Principal{}) {
				t.Errorf("access %q, %s: %+v, %v, want %v", tt.access, service, p, err, want)
			}
			if _, err := lead(a, c, PLAIN, plain("anna", "secret")); !errors.Is(err, want) {
				t.Errorf("access %q, %s by PLAIN: %v, want %v", tt.access, service, err, want)
			}
			if _, err := a.Password(t.Context(), c, "anna", "wrong"); !errors.Is(err, ErrInvalid) {
				t.Errorf("access %q, %s, wrong password: %v", tt.access, service, err)
			}
			if err := a.StillPermits(Principal{Address: box.Address}, service); !errors.Is(err, want) {
				t.Errorf("access %q, %s, after the login: %v", tt.access, service, err)
			}
		}
	}
}

// try logs in and returns how long that took.
func try(a *Authenticator, remote netip.Addr, user, password string) (time.Duration, error) {
	start := time.Now()
	_, err := a.Password(context.Background(), Client{Remote: remote}, user, password)
	return time.Since(start), err
}

// The server is told of each login that succeeded, with its service, and of no other.
func TestLoggedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		var told []string
		a.LoggedIn = func(c Client, p Principal) {
			told = append(told, string(c.Service)+" "+p.Address.String())
		}
		for _, c := range []struct {
			service        Service
			user, password string
		}{
			{ServicePOP3, "anna", "Secret"}, {ServicePOP3, "boss", "secret"},
			{ServicePOP3, "anna", "secret"}, {ServiceSMTP, "anna", "secret"},
		} {
			a.Password(t.Context(), Client{Remote: here, Service: c.service}, c.user, c.password)
		}
		if want := []string{"pop3 anna@office.example", "smtp anna@office.example"}; !slices.Equal(told, want) {
			t.Errorf("%q, want %q", told, want)
		}
	})
}

func TestPassword(t *testing.T) {
	for _, c := range []struct {
		name, user, password string
		want                 error
		log                  string
	}{
		{"right", "anna", "secret", nil, "authentication succeeded"},
		{"wrong", "anna", "Secret", ErrInvalid, "wrong password"},
		{"unknown", "nobody", "secret", ErrInvalid, "no such user"},
		{"empty", "", "", ErrInvalid, "no such user"},
		{"locked", "boss", "secret", ErrLocked, "locked"},
		{"locked, wrong", "boss", "Secr3t", ErrInvalid, "wrong password"},
		{"strange verifier", "old", "secret", ErrInvalid, "no usable password"},
		{"no verifier", "copied", "", ErrInvalid, "no usable password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, boxes, log := newTest(t)
				boxes.set("old", "{SHA}x", false)
				boxes.set("copied", "", false)
				p, err := a.Password(t.Context(), Client{Remote: here}, c.user, c.password)
				if !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				if err == nil && (p.Address.String() != "anna@office.example" || p.Dir != "mailbox/office.example/P3_anna.mbx") {
					t.Errorf("principal %+v", p)
				}
				if err != nil && p != (Principal{}) {
					t.Errorf("principal %+v beside an error", p)
				}
				if !strings.Contains(log.String(), c.log) || !strings.Contains(log.String(), "remote_ip=192.168.1.10") {
					t.Errorf("log: %s", log)
				}
				if c.password != "" && strings.Contains(log.String(), c.password) {
					t.Errorf("the password is in the log: %s", log)
				}
			})
		})
	}
}

func TestTemporary(t *testing.T) {
	a, boxes, _ := newTest(t)
	boxes.err = errors.New("input/output error")
	if _, err := a.Password(t.Context(), Client{Remote: here}, "anna", "secret"); !errors.Is(err, ErrTemporary) || errors.Is(err, ErrInvalid) {
		t.Errorf("a broken directory: %v", err)
	}
	boxes.err = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Password(ctx, Client{Remote: here}, "anna", "wrong"); !errors.Is(err, ErrTemporary) {
		t.Errorf("an ended context: %v", err)
	}
	if _, err := try(a, here, "anna", "secret"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// An unknown user and a wrong password must look the same, in text and in time.
func TestUnknownUserLooksTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		for i := range 6 {
			password := fmt.Sprint("guess", i)
			known, err1 := try(a, here, "anna", password)
			unknown, err2 := try(a, here, "nobody", password)
			if known != unknown || !errors.Is(err1, ErrInvalid) || !errors.Is(err2, ErrInvalid) {
				t.Errorf("guess %d: %v %v, %v %v", i, known, err1, unknown, err2)
			}
		}
	})
}

func TestDelayGrowsWithDistinctPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		want := []time.Duration{500, 1000, 1500, 2500, 4500, 8500, 8500, 8500, 8500, 8500, 8500}
		for i, ms := range want {
			if took, err := try(a, here, "anna", fmt.Sprint("guess", i)); took != ms*time.Millisecond || !errors.Is(err, ErrInvalid) {
				t.Errorf("guess %d took %v (%v), want %v ms", i, took, err, int(ms))
			}
		}
		if took, _ := try(a, here, "anna", "guess10"); took != 500*time.Millisecond {
			t.Errorf("a password known to be wrong took %v", took)
		}
		if took, _ := try(a, here, "Anna@office.example", "guess11"); took != 8500*time.Millisecond {
			t.Errorf("the same account written otherwise took %v", took)
		}
		if took, err := try(a, there, "anna", "secret"); took != 0 || err != nil {
			t.Errorf("another address waits %v (%v)", took, err)
		}
		if took, err := try(a, here, "boss", "x"); took != 500*time.Millisecond {
			t.Errorf("another account waits %v (%v)", took, err)
		}
	})
}

func TestNeverALockOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		for i := range 20 {
			try(a, here, "anna", fmt.Sprint("guess", i))
		}
		if took, err := try(a, here, "anna", "secret"); took != 8*time.Second || err != nil {
			t.Errorf("the right password took %v: %v", took, err)
		}
		if took, err := try(a, here, "anna", "secret"); took != 0 || err != nil {
			t.Errorf("the right password, again, took %v: %v", took, err)
		}
		time.Sleep(16 * time.Minute)
		if took, _ := try(a, here, "anna", "wrong"); took != 500*time.Millisecond {
			t.Errorf("a quarter of an hour later it took %v", took)
		}
	})
}

func TestStalePasswordCostsTheConstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		for range 50 {
			if took, err := try(a, here, "anna", "last year's"); took != 500*time.Millisecond || !errors.Is(err, ErrInvalid) {
				t.Fatalf("took %v: %v", took, err)
			}
			time.Sleep(time.Minute)
		}
		if took, err := try(a, here, "anna", "secret"); took > 500*time.Millisecond || err != nil {
			t.Errorf("the neighbour waits %v: %v", took, err)
		}
	})
}

// Guesses at the same time must not all pass as the first one.
func TestParallelGuessesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { try(a, here, "anna", fmt.Sprint("guess", i)) })
		}
		wg.Wait()
		if took := time.Since(start); took != 32*time.Second {
			t.Errorf("eight guesses took %v", took)
		}
	})
}

func TestDelayEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newTest(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := a.Password(ctx, Client{Remote: here}, "anna", "wrong")
		if took := time.Since(start); took != 100*time.Millisecond || !errors.Is(err, ErrTemporary) {
			t.Errorf("took %v: %v", took, err)
		}
		if took, _ := try(a, here, "anna", "wrong too"); took != time.Second {
			t.Errorf("the guess was not counted: the next took %v", took)
		}
	})
}

func TestVerifiedLoginIsRemembered(t *testing.T) {
	synctest.Test(t, testVerifiedLoginIsRemembered)
}

func testVerifiedLoginIsRemembered(t *testing.T) {
	a, boxes, _ := newTest(t)
	verifier, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	boxes.set("anna", verifier, false)
	if _, err := try(a, here, "anna", "secret"); err != nil {
		t.Fatal(err)
	}
	_, network := networkOf(there)
	for range a.hashing.total {
		a.hashing.acquire(t.Context(), network, true) // from here on, a hash would have to wait
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.Password(ctx, Client{Remote: here}, "anna", "secret"); err != nil {
		t.Errorf("the second login was not from the cache: %v", err)
	}
	boxes.set("anna", verifier, true)
	if _, err := a.Password(ctx, Client{Remote: here}, "anna", "secret"); !errors.Is(err, ErrLocked) {
		t.Errorf("a lock does not reach a remembered login: %v", err)
	}
	for range a.hashing.total {
		a.hashing.release()
	}
	boxes.set("anna", cheap("changed"), false)
	if _, err := try(a, here, "anna", "secret"); !errors.Is(err, ErrInvalid) {
		t.Errorf("the old password is still remembered: %v", err)
	}
	if _, err := try(a, here, "anna", "changed"); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestTablesAreBounded(t *testing.T) {
	th := throttle{delay: 1, maxDelay: 8, forget: time.Hour, sources: make(map[source]*guesses)}
	for i := range maxSources + 100 {
		th.begin(newSource(fmt.Sprint("user", i), here), 1)
		th.end(newSource(fmt.Sprint("user", i), here), 1)
	}
	if len(th.sources) > maxSources {
		t.Errorf("%d sources", len(th.sources))
	}
	v := verified{logins: make(map[[32]byte]struct{})}
	for i := range maxVerified + 100 {
		v.add([32]byte{byte(i), byte(i >> 8)})
	}
	if len(v.logins) > maxVerified {
		t.Errorf("%d verified logins", len(v.logins))
	}
}

func TestNewSource(t *testing.T) {
	same := func(u1, r1, u2, r2 string) bool {
		return newSource(u1, netip.MustParseAddr(r1)) == newSource(u2, netip.MustParseAddr(r2))
	}
	for _, c := range []struct {
		u1, r1, u2, r2 string
		want           bool
	}{
		{"anna", "10.0.0.1", "Anna@office.example", "::ffff:10.0.0.1", true},
		{"anna", "10.0.0.1", `"anna"@x`, "10.0.0.1", true},
		{"anna", "10.0.0.1", "anna", "10.0.0.2", false},
		{"anna", "10.0.0.1", "boss", "10.0.0.1", false},
		{"anna", "fd00::1", "anna", "fd00::2", true},
		{"anna", "fe80::1%eth0", "anna", "fe80::2%eth1", true},
		{"anna", "fd00::1", "anna", "fd00:0:0:1::1", false},
	} {
		if got := same(c.u1, c.r1, c.u2, c.r2); got != c.want {
			t.Errorf("%v: same = %v", c, got)
		}
	}
	long := newSource(strings.Repeat("\u00e9", 5000), netip.Addr{})
	if len(long.account) > addr.MaxLocal || long.remote.IsValid() {
		t.Errorf("%+v", long)
	}
}

func TestWithDirectory(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	dir := directory.New(root, directory.Options{})
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	if err := dir.AddDomain(anna.Domain); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.AddMailbox(anna, directory.Account{Verifier: cheap("secret")}); err != nil {
		t.Fatal(err)
	}
	a := New(dir, Options{Delay: time.Millisecond})
	for _, user := range []string{"anna", "anna@office.example", "ANNA@Office.Example"} {
		if p, err := a.Password(t.Context(), Client{Remote: here}, user, "secret"); err != nil || p.Address != anna {
			t.Errorf("%s: %+v %v", user, p, err)
		}
	}
	for _, user := range []string{"anna@other.example", "", "../anna"} {
		if _, err := a.Password(t.Context(), Client{Remote: here}, user, "secret"); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", user, err)
		}
	}
}

func BenchmarkVerifiedLogin(b *testing.B) {
	boxes := new(accounts)
	boxes.set("anna", cheap("secret"), false)
	a := New(boxes, Options{})
	for b.Loop() {
		if _, err := a.Password(b.Context(), Client{Remote: here}, "anna", "secret"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFirstLogin(b *testing.B) {
	stored, err := HashPassword("secret")
	if err != nil {
		b.Fatal(err)
	}
	v, err := parseVerifier(stored)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !v.matches("secret") {
			b.Fatal("no match")
		}
	}
}
