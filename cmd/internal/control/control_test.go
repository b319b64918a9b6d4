package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// service is a data directory with one domain. carol is an operator of it.
func service(t *testing.T) *admin.Service {
	t.Helper()
	cfg := config.Default()
	cfg.Data = t.TempDir()
	s, err := admin.Open(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.AddDomain("office.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddOperator(admin.NewOperator{Name: "unix:carol", Domains: []string{"office.example"}}); err != nil {
		t.Fatal(err)
	}
	return s
}

var carol = peer{uid: 1000, name: "carol"}

// fake is a verb of the tests.
type fake struct {
	name string
	do   func(ctx context.Context, s *admin.Service, in json.RawMessage) (json.RawMessage, error)
}

func (f fake) Name() string                 { return f.name }
func (f fake) Permission() admin.Permission { return admin.SeesDomain }
func (f fake) Call(ctx context.Context, s *admin.Service, in json.RawMessage) (json.RawMessage, error) {
	return f.do(ctx, s, in)
}

// newServer serves a verb "do" beside the true ones.
func newServer(s *admin.Service, do func(ctx context.Context, s *admin.Service, in json.RawMessage) (json.RawMessage, error)) *Server {
	server := NewServer(s, func(error) {})
	server.verbs["do"] = fake{"do", do}
	return server
}

// converse has a server attend one call over a pipe.
func converse(t *testing.T, s *Server, p peer, r request, tell func(admin.Part)) (answer, error) {
	t.Helper()
	server, client := net.Pipe()
	defer client.Close()
	s.receive(t.Context(), server, p)
	return Client{Tell: tell}.exchange(client, r)
}

// A call brings its input there, and what the verb tells, its output and its error back.
func TestCall(t *testing.T) {
	s := service(t)
	long := strings.Repeat("0123456789", writeChunk/5)
	server := newServer(s, func(_ context.Context, view *admin.Service, in json.RawMessage) (json.RawMessage, error) {
		if string(in) != `"there"` {
			t.Errorf("input %s", in)
		}
		if err := view.Require("office.example", true); err != nil {
			t.Error(err)
		}
		out, _ := json.Marshal(long)
		return out, admin.Hint(fmt.Errorf("%w: no", admin.ErrNotPermitted), "ask")
	})
	got, err := converse(t, server, carol, request{Verb: "do", Arguments: json.RawMessage(`"there"`)}, nil)
	if err != nil || len(got.Result) != len(long)+2 {
		t.Errorf("%d octets, %v", len(got.Result), err)
	}
	err = got.Error.err()
	hinted, _ := errors.AsType[*admin.HintError](err)
	if !errors.Is(err, admin.ErrNotPermitted) || err.Error() != "not permitted: no" || hinted == nil || hinted.Hint != "ask" {
		t.Errorf("%v, %+v", err, hinted)
	}
}

// The true verbs, over the true encoding.
func TestVerbsTravel(t *testing.T) {
	s := service(t)
	server := NewServer(s, func(error) {})
	var notes []string
	add, err := converse(t, server, carol, request{Verb: "mailbox add", Arguments: json.RawMessage(`{"User":"anna@office.example"}`)}, nil)
	if err != nil || !strings.Contains(string(add.Result), "mailbox anna@office.example added") || add.Error != nil {
		t.Errorf("%s, %+v, %v", add.Result, add.Error, err)
	}
	list, err := converse(t, server, peer{name: "root"}, request{Verb: "queue list", Arguments: json.RawMessage(`{}`)},
		func(p admin.Part) { notes = append(notes, p.Note) })
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "not running") {
		t.Errorf("%s, %q, %v", list.Result, notes, err)
	}
	for name, r := range map[string]request{
		"a verb": {Verb: "mailbox fold", Arguments: json.RawMessage(`{}`)},
		"a flag": {Verb: "mailbox add", Arguments: json.RawMessage(`{"User":"x@office.example","Colour":"red"}`)},
	} {
		got, err := converse(t, server, carol, r, nil)
		failed := got.Error.err()
		hinted, _ := errors.AsType[*admin.HintError](failed)
		if err != nil || !errors.Is(failed, ErrUnknownVerb) || hinted == nil || !strings.Contains(hinted.Hint, "restart the server") {
			t.Errorf("%s of another version: %v, %v", name, failed, err)
		}
	}
	events, _, err := s.Audit(admin.AuditQuestion{By: "carol"})
	if err != nil || len(events) != 1 || events[0].Act != "mailbox add" || events[0].From != "control socket" {
		t.Errorf("%+v, %v", events, err)
	}
}

// A panic in a verb ends that call, and is told.
func TestPanicInVerb(t *testing.T) {
	server := newServer(service(t), func(context.Context, *admin.Service, json.RawMessage) (json.RawMessage, error) { panic("hostile") })
	var told error
	server.failed = func(err error) { told = err }
	got, err := converse(t, server, carol, request{Verb: "do"}, nil)
	if err != nil || got.Error == nil || !strings.Contains(got.Error.Text, "a mistake of the program: hostile") {
		t.Errorf("%+v, %v", got.Error, err)
	}
	if server.running.Wait(); told == nil || !strings.Contains(told.Error(), "carol") {
		t.Error(told)
	}
}

// A non-operator gets no verb done and learns what to ask for. The audit log has it once a minute.
func TestNonOperatorIsRejected(t *testing.T) {
	o := service(t)
	s := newServer(o, func(context.Context, *admin.Service, json.RawMessage) (json.RawMessage, error) {
		t.Error("the verb is done")
		return nil, nil
	})
	for range 3 {
		got, err := converse(t, s, peer{uid: 1001, name: "dave", groups: []string{"users"}}, request{Verb: "do"}, nil)
		if err != nil || got.Error == nil || got.Error.Class != "not-permitted" ||
			!strings.Contains(got.Error.Text, "the user dave is no operator") || !strings.Contains(got.Error.Hint, "run it with sudo, or ask") ||
			!strings.Contains(got.Error.Hint, "operator add unix:dave") {
			t.Errorf("%+v, %v", got.Error, err)
		}
	}
	events, _, err := o.Audit(admin.AuditQuestion{By: "dave"})
	if err != nil || len(events) != 1 || events[0].Refused == "" || events[0].From != "control socket" {
		t.Errorf("%+v, %v", events, err)
	}
	now := time.Now()
	for _, tt := range []struct {
		who, act string
		at       time.Time
		want     bool
	}{
		{"dave", "", now, false}, {"eve", "", now, true}, {"eve", "", now.Add(59 * time.Second), false}, {"eve", "domain add", now.Add(59 * time.Second), true},
		{"eve", "domain add", now.Add(60 * time.Second), false}, {"dave", "", now.Add(time.Hour), true},
	} {
		if got := s.mayRecord(refusal{tt.who, tt.act}, tt.at); got != tt.want {
			t.Errorf("%v: recorded %v", tt, got)
		}
	}
}

// What an operator may not do is recorded under the verb's name, once a minute.
func TestRefusedVerbIsRecorded(t *testing.T) {
	o := service(t)
	s := NewServer(o, func(error) {})
	for range 3 {
		got, err := converse(t, s, carol, request{Verb: "reload", Arguments: json.RawMessage(`{}`)}, nil)
		if err != nil || got.Error == nil || got.Error.Class != "not-permitted" {
			t.Errorf("%+v, %v", got.Error, err)
		}
	}
	events, _, err := o.Audit(admin.AuditQuestion{By: "carol"})
	if err != nil || len(events) != 1 || events[0].Act != "reload" || events[0].Refused == "" {
		t.Errorf("%+v, %v", events, err)
	}
}

// Non-operators take no operator's place, and have their own for a moment only.
func TestNonOperatorsTakeNoPlaces(t *testing.T) {
	o := service(t)
	synctest.Test(t, func(t *testing.T) {
		s := newServer(o, func(context.Context, *admin.Service, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage("1"), nil
		})
		var clients []net.Conn
		for uid := range uint32(20) {
			server, client := net.Pipe()
			defer client.Close()
			clients = append(clients, client)
			s.receive(t.Context(), server, peer{uid: 2000 + uid, name: fmt.Sprintf("other%d", uid)})
		}
		synctest.Wait()
		if s.nonOperators != maxNonOperators || s.all != 0 {
			t.Errorf("%d non-operators, %d calls", s.nonOperators, s.all)
		}
		if _, err := clients[19].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("one too many reads %v", err)
		}
		if got, err := converse(t, s, carol, request{Verb: "do"}, nil); got.Error != nil || err != nil {
			t.Errorf("an operator: %+v, %v", got.Error, err)
		}
		began := time.Now()
		s.running.Wait()
		if took := time.Since(began); took > nonOperatorTimeout || s.nonOperators != 0 {
			t.Errorf("%d non-operators, after %v", s.nonOperators, took)
		}
	})
}

// Root and the server's own account may do everything, and they alone describe themselves.
func TestMaster(t *testing.T) {
	s := NewServer(service(t), nil)
	said := Origin{Who: "root (sudo by carol)", From: "command line, pts/1\x1b"}
	for _, p := range []peer{{uid: 0, name: "root"}, {uid: uint32(os.Geteuid()), name: "me"}} {
		if op, err := s.operator(p); err != nil || op != nil {
			t.Errorf("%v: %v, %v", p, op, err)
		}
		if got := actorOf(p, said); got != (admin.Actor{Who: said.Who, From: "command line, pts/1?"}) {
			t.Errorf("%+v", got)
		}
	}
	if got := actorOf(carol, said); got != (admin.Actor{Who: "carol", From: "control socket, pts/1?"}) {
		t.Errorf("%+v", got)
	}
	if got := actorOf(carol, Origin{Who: "root", From: CommandLine}); got != (admin.Actor{Who: "carol", From: "control socket"}) {
		t.Errorf("%+v", got)
	}
}

// A client that goes away ends its call.
func TestClientThatGoesAway(t *testing.T) {
	ended := make(chan error)
	s := newServer(service(t), func(ctx context.Context, _ *admin.Service, _ json.RawMessage) (json.RawMessage, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, nil
	})
	server, client := net.Pipe()
	s.receive(t.Context(), server, carol)
	if err := sendLine(client, request{Verb: "do"}); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := <-ended; err == nil {
		t.Error("the call goes on")
	}
}

// A client that sends nothing does not stay, and the call of an operator has its time.
func TestTimeouts(t *testing.T) {
	o := service(t)
	synctest.Test(t, func(t *testing.T) {
		s := newServer(o, func(ctx context.Context, _ *admin.Service, _ json.RawMessage) (json.RawMessage, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		for greets, want := range map[bool]time.Duration{false: requestTimeout, true: callTimeout} {
			server, client := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.attend(t.Context(), server, carol, &admin.Operator{Name: "carol"})
			}()
			if greets {
				if err := sendLine(client, request{Verb: "do"}); err != nil {
					t.Fatal(err)
				}
			}
			go io.Copy(io.Discard, client)
			began := time.Now()
			<-done
			if took := time.Since(began); took != want {
				t.Errorf("it stayed for %v", took)
			}
			client.Close()
		}
	})
}

// A line that is too long or no JSON ends the connection.
func TestHostileClient(t *testing.T) {
	s := newServer(service(t), func(context.Context, *admin.Service, json.RawMessage) (json.RawMessage, error) {
		t.Error("the verb is done")
		return nil, nil
	})
	for name, text := range map[string]string{
		"no JSON": "GET / HTTP/1.0\n",
		"endless": strings.Repeat("x", 2*maxRequest),
	} {
		server, client := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.attend(t.Context(), server, carol, &admin.Operator{Name: "carol"})
		}()
		go io.Copy(io.Discard, client)
		client.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(client, text)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it goes on", name)
		}
		client.Close()
	}
}

// One user has so many calls at once, and all together so many.
func TestCallsAtOnce(t *testing.T) {
	s := NewServer(nil, nil)
	count := func(p peer) (n int) {
		for n < 100 && s.enter(p) {
			n++
		}
		return n
	}
	if n := count(carol); n != maxOwnCalls {
		t.Errorf("carol has %d", n)
	}
	all := maxOwnCalls
	for uid := range uint32(50) {
		all += count(peer{uid: 2000 + uid})
	}
	if all != maxCalls {
		t.Errorf("all have %d", all)
	}
	if !s.enter(peer{uid: 0}) {
		t.Error("root has no place")
	}
	s.leave(peer{uid: 0})
	s.leave(carol)
	if !s.enter(peer{uid: 7000}) || s.enter(peer{uid: 7000}) {
		t.Error("the place of a call that has ended is not free, or there are two")
	}
}

// The kernel names the user at the other end, in a data directory with a long name too.
func TestSocket(t *testing.T) {
	o := service(t)
	data := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	path, done, err := Path(data)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		NewServer(o, func(error) {}).Serve(ctx, l)
	}()
	client := Client{Socket: path, Origin: Origin{Who: "root (sudo by carol)", From: "command line, pts/1"}}
	change, err := Call(t.Context(), client, admin.MailboxAdd, admin.MailboxToAdd{User: "anna@office.example"})
	if err != nil || change.Text != "mailbox anna@office.example added" {
		t.Errorf("%+v, %v", change, err)
	}
	events, _, err := o.Audit(admin.AuditQuestion{Object: "anna@office.example"})
	if err != nil || len(events) != 1 || events[0].Who != "root (sudo by carol)" || events[0].From != "command line, pts/1" {
		t.Errorf("%+v, %v", events, err)
	}
	cancel()
	<-over
	if _, err := Call(t.Context(), client, admin.MailboxList, ""); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"verb":"mailbox list","arguments":"x"}`), []byte("y"))
	f.Fuzz(func(t *testing.T, line, more []byte) {
		lines := newLineReader(bytes.NewReader(append(append(line, '\n'), more...)), 1<<10)
		for {
			var r request
			if err := lines.read(&r); err != nil {
				return
			}
			if len(r.Arguments) > 1<<10 || len(r.Verb) > 4<<10 {
				t.Error("longer than its line")
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		}
	})
}

// OrOffline waits for a server that starts or stops.
func TestOrOffline(t *testing.T) {
	for name, c := range map[string]struct {
		locked, answer time.Duration // until then
		want           string
	}{
		"none runs":   {0, time.Hour, "offline"},
		"it runs":     {time.Hour, 0, "asked"},
		"it starts":   {time.Hour, 5 * time.Second, "asked"},
		"it stops":    {5 * time.Second, time.Hour, "offline"},
		"it does not": {9 * time.Hour, 9 * time.Hour, "neither answers nor lets go"},
		"it refuses":  {time.Hour, -1, "denied"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, did := time.Now(), ""
				err := OrOffline(t.Context(),
					func() error {
						switch {
						case c.answer < 0:
							return errors.New("denied")
						case time.Since(start) < c.answer:
							return ErrNoServer
						}
						did += "asked"
						return nil
					},
					func() error {
						if time.Since(start) < c.locked {
							return fmt.Errorf("lock: %w", admin.ErrDataLocked)
						}
						did += "offline"
						return nil
					})
				if did != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%q, %v; want %q", did, err, c.want)
				}
			})
		})
	}
}

// An operator who is removed between the connection and the request gets nothing done.
func TestOperatorRemovedMeanwhile(t *testing.T) {
	o := service(t)
	s := NewServer(o, func(error) {})
	server, client := net.Pipe()
	defer client.Close()
	s.receive(t.Context(), server, carol)
	if _, err := o.RemoveOperator("unix:carol"); err != nil {
		t.Fatal(err)
	}
	got, err := Client{}.exchange(client, request{Verb: "mailbox list", Arguments: json.RawMessage(`""`)})
	if err != nil || got.Error == nil || got.Error.Class != "not-permitted" {
		t.Errorf("%+v, %v", got, err)
	}
	events, _, err := o.Audit(admin.AuditQuestion{By: "carol"})
	if err != nil || len(events) != 1 || events[0].Refused == "" || events[0].Act != "mailbox list" {
		t.Errorf("%+v, %v", events, err)
	}
}

// A client that does not read its answer holds up the end of the server for seconds only.
func TestSlowReader(t *testing.T) {
	o := service(t)
	synctest.Test(t, func(t *testing.T) {
		s := newServer(o, func(context.Context, *admin.Service, json.RawMessage) (json.RawMessage, error) {
			out, _ := json.Marshal(strings.Repeat("x", 100*writeChunk))
			return out, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		server, client := net.Pipe()
		s.receive(ctx, server, carol)
		if err := sendLine(client, request{Verb: "do"}); err != nil {
			t.Fatal(err)
		}
		reading := make(chan struct{})
		defer func() { client.Close(); <-reading }()
		go func() { // it reads so slowly that no chunk fails by itself
			defer close(reading)
			for {
				if _, err := client.Read(make([]byte, writeChunk)); err != nil {
					return
				}
				time.Sleep(writeTimeout / 2)
			}
		}()
		time.Sleep(time.Minute)
		began := time.Now()
		cancel()
		s.running.Wait()
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("it held the server up for %v", took)
		}
	})
}

// One call too many, and a request too long, are answered.
func TestRefusedConnections(t *testing.T) {
	s := NewServer(service(t), func(error) {})
	for range maxOwnCalls {
		s.enter(carol)
	}
	got, err := converse(t, s, carol, request{Verb: "mailbox list"}, nil)
	if err != nil && !errors.Is(err, errBusy) || err == nil && (got.Error == nil || got.Error.Text != errBusy.Error()) {
		t.Errorf("%+v, %v", got, err)
	}
	for range maxOwnCalls {
		s.leave(carol)
	}
	for name, text := range map[string]string{
		"no JSON": "GET / HTTP/1.0", "too long": `"` + strings.Repeat("x", maxRequest) + `"`,
	} {
		server, client := net.Pipe()
		s.receive(t.Context(), server, carol)
		go io.WriteString(client, text+"\n")
		var a answer
		if err := newLineReader(client, maxAnswer).read(&a); err != nil || a.Error == nil ||
			!strings.Contains(a.Error.Text, "cannot be understood") {
			t.Errorf("%s: %+v, %v", name, a.Error, err)
		}
		client.Close()
	}
}
