package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// controlOffice is an office with one domain, of which carol is an operator.
func controlOffice(t *testing.T) *admin.Service {
	t.Helper()
	cfg := config.Default()
	cfg.Data = t.TempDir()
	o, err := admin.Open(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	if _, err := o.AddDomain("office.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.AddOperator(admin.NewOperator{Name: "unix:carol", Domains: []string{"office.example"}}); err != nil {
		t.Fatal(err)
	}
	return o
}

func newOperatorServer(o *admin.Service, do Command) *operatorServer {
	return &operatorServer{office: o, command: do, calls: make(map[uint32]int), refused: make(map[refusal]time.Time)}
}

// converse has a server attend a client over a pipe. The client is told of by h.
func converse(t *testing.T, s *operatorServer, p peer, h Handed) (stdout, stderr string, exit int, err error) {
	t.Helper()
	server, client := net.Pipe()
	s.receive(t.Context(), server, p)
	var out, errs bytes.Buffer
	h.Stdout, h.Stderr = &out, &errs
	exit, err = h.converse(client)
	return out.String(), errs.String(), exit, err
}

var carol = peer{uid: 1000, name: "carol"}

// A command gets its arguments and its streams, and the client what it writes.
func TestHandedCommand(t *testing.T) {
	o := controlOffice(t)
	long := strings.Repeat("0123456789", maxChunk/4)
	s := newOperatorServer(o, func(_ context.Context, call Call) int {
		if got := fmt.Sprint(call.Args, call.Operator.Scope(), call.Actor); got != "[admin x]office.example{carol control socket }" {
			t.Errorf("the call is %s", got)
		}
		input, err := io.ReadAll(call.Stdin)
		if err != nil || string(input) != long {
			t.Errorf("%d octets came, %v", len(input), err)
		}
		name, err := call.Ask("Name: ", false)
		word, err2 := call.Ask("Password: ", true)
		fmt.Fprintf(call.Stderr, "%s %s %v %v", name, word, err, err2)
		io.WriteString(call.Stdout, long)
		return 3
	})
	out, errs, exit, err := converse(t, s, carol, Handed{
		Args: []string{"admin", "x"}, Stdin: strings.NewReader(long),
		Ask: func(prompt string, secret bool) (string, error) {
			if secret {
				return "", errors.New("gave up")
			}
			return "answer to " + prompt, nil
		},
	})
	if out != long || errs != "answer to Name:   <nil> gave up" || exit != 3 || err != nil {
		t.Errorf("%d octets, %q, exit %d, %v", len(out), errs, exit, err)
	}
}

// A panic in a command ends that command, and is told.
func TestPanicInHandedCommand(t *testing.T) {
	s := newOperatorServer(controlOffice(t), func(context.Context, Call) int { panic("hostile") })
	var told error
	s.fail = func(err error) { told = err }
	_, errs, exit, err := converse(t, s, carol, Handed{Args: []string{"admin", "x"}})
	if exit != 1 || err != nil || !strings.Contains(errs, "a mistake of the program: hostile") {
		t.Errorf("exit %d, %v: %s", exit, err, errs)
	}
	if s.running.Wait(); told == nil || !strings.Contains(told.Error(), "carol") {
		t.Error(told)
	}
}

// Who is no operator gets no command done, and is told what to ask for. That is
// recorded once a minute.
func TestStrangerIsRefused(t *testing.T) {
	o := controlOffice(t)
	s := newOperatorServer(o, func(context.Context, Call) int {
		t.Error("the command is done")
		return 0
	})
	for range 3 {
		_, errs, exit, err := converse(t, s, peer{uid: 1001, name: "dave", groups: []string{"users"}}, Handed{Args: []string{"admin"}})
		if exit != 1 || err != nil || !strings.Contains(errs, "the user dave is no operator") || !strings.Contains(errs, "operator add unix:dave") {
			t.Errorf("exit %d, %v, %s", exit, err, errs)
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

// Who is no operator takes no operator's place, and has his own for a moment only.
func TestStrangersTakeNoPlaces(t *testing.T) {
	o := controlOffice(t)
	synctest.Test(t, func(t *testing.T) {
		s := newOperatorServer(o, func(context.Context, Call) int { return 0 })
		var clients []net.Conn
		for uid := range uint32(20) {
			server, client := net.Pipe()
			defer client.Close()
			clients = append(clients, client)
			s.receive(t.Context(), server, peer{uid: 2000 + uid, name: fmt.Sprintf("stranger%d", uid)})
		}
		synctest.Wait()
		if s.strangers != maxStrangers || s.all != 0 {
			t.Errorf("%d strangers, %d calls", s.strangers, s.all)
		}
		if _, err := clients[19].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("one too many reads %v", err)
		}
		if _, errs, exit, err := converse(t, s, carol, Handed{Args: []string{"admin"}}); exit != 0 || err != nil {
			t.Errorf("an operator: exit %d, %v, %s", exit, err, errs)
		}
		began := time.Now()
		s.running.Wait()
		if took := time.Since(began); took > strangerLimits || s.strangers != 0 {
			t.Errorf("%d strangers, after %v", s.strangers, took)
		}
	})
}

// Root and the server's own account may do everything, without being asked for.
func TestMaster(t *testing.T) {
	o := controlOffice(t)
	for _, p := range []peer{{uid: 0, name: "root"}, {uid: uint32(os.Geteuid()), name: "me"}} {
		if op, err := newOperatorServer(o, nil).operator(p); err != nil || !op.MayAll(true) {
			t.Errorf("%v: %v, %v", p, op, err)
		}
	}
}

// A client that goes away ends its command; one that is silent does not stay.
func TestClientThatGoesAway(t *testing.T) {
	o := controlOffice(t)
	ended := make(chan error)
	s := newOperatorServer(o, func(ctx context.Context, call Call) int {
		<-ctx.Done()
		_, err := io.ReadAll(call.Stdin)
		ended <- err
		return 0
	})
	server, client := net.Pipe()
	s.receive(t.Context(), server, carol)
	if err := sendLine(client, order{Args: []string{"admin"}}); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := <-ended; err == nil {
		t.Error("the command could read from nobody")
	}
}

func TestSilentClient(t *testing.T) {
	o := controlOffice(t)
	synctest.Test(t, func(t *testing.T) {
		s := newOperatorServer(o, func(_ context.Context, call Call) int {
			_, err := call.Ask("Well? ", false)
			if err == nil {
				t.Error("an answer came")
			}
			return 1
		})
		for _, greets := range []bool{false, true} {
			server, client := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.attend(t.Context(), server, carol, admin.Everything("carol"))
			}()
			if greets {
				if err := sendLine(client, order{Args: []string{"admin"}, Terminal: true}); err != nil {
					t.Fatal(err)
				}
			}
			go io.Copy(io.Discard, client)
			began := time.Now()
			<-done
			if took := time.Since(began); took > answerTimeout {
				t.Errorf("it stayed for %v", took)
			}
			client.Close()
		}
	})
}

// What is too long or no JSON ends the conversation.
func TestHostileClient(t *testing.T) {
	o := controlOffice(t)
	s := newOperatorServer(o, func(_ context.Context, call Call) int {
		if _, err := io.ReadAll(call.Stdin); err == nil {
			t.Error("it was read")
		}
		return 1
	})
	for name, text := range map[string]string{
		"no JSON":  "GET / HTTP/1.0\n",
		"endless":  strings.Repeat("x", 2*maxOrder),
		"one line": `{"args":["admin"]}` + "\nno JSON\n",
	} {
		server, client := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.attend(t.Context(), server, carol, admin.Everything("carol"))
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

// Input has a limit.
func TestTooMuchInput(t *testing.T) {
	o := controlOffice(t)
	s := newOperatorServer(o, func(_ context.Context, call Call) int {
		n, err := io.Copy(io.Discard, call.Stdin)
		if err == nil || n > maxInput {
			t.Errorf("%d octets, %v", n, err)
		}
		return 1
	})
	_, _, exit, err := converse(t, s, carol, Handed{Args: []string{"admin"}, Stdin: io.LimitReader(zeros{}, 4*maxInput)})
	if exit != 1 || err != nil {
		t.Error(exit, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// One user has so many calls at once, and all together so many.
func TestCallsAtOnce(t *testing.T) {
	s := newOperatorServer(nil, nil)
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
		t.Error("the place of who has left is not free, or there are two")
	}
}

// The real thing: the system says who is at the other end.
func TestOperatorsSocket(t *testing.T) {
	o := controlOffice(t)
	path := filepath.Join(t.TempDir(), "run", "admin.sock")
	l, err := openLocal(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	s := newOperatorServer(o, func(_ context.Context, call Call) int {
		fmt.Fprint(call.Stdout, call.Operator.MayAll(true), call.Operator.Name != "")
		return 0
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve(ctx, l)
	}()
	var out bytes.Buffer
	exit, err := HandOver(t.Context(), path, Handed{Args: []string{"admin"}, Stdout: &out})
	if exit != 0 || err != nil || out.String() != "true true" {
		t.Errorf("exit %d, %v, %s", exit, err, out.String())
	}
	cancel()
	l.Close()
	<-done
	s.running.Wait()
	if _, err := HandOver(t.Context(), path, Handed{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a server: %v", err)
	}
}

// What is asked of the server over the control socket is recorded for whom the
// client names, or else for the user at the other end.
func TestRequestsAreRecorded(t *testing.T) {
	o := controlOffice(t)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /thing", func(w http.ResponseWriter, r *http.Request) {
		record(r, "thing", map[string]any{"n": 1})
		answer(w, "ok")
	})
	h := recorded(o, mux)
	for _, actor := range []*admin.Actor{{Who: "Jörg (sudo)", From: "command line", Act: "thing do"}, nil} {
		ctx := context.WithValue(t.Context(), peerKey{}, carol)
		if actor != nil {
			ctx = WithActor(ctx, *actor)
		}
		r := httptest.NewRequestWithContext(ctx, "POST", "/thing", nil)
		signRequest(r)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	events, _, err := o.Audit(admin.AuditQuestion{Object: "thing"})
	if err != nil || len(events) != 2 {
		t.Fatalf("%+v, %v", events, err)
	}
	for i, want := range []string{"Jörg (sudo), command line, thing do", "carol, control socket, POST /thing"} {
		e := events[i]
		if got := strings.Join([]string{e.Who, e.From, e.Act}, ", "); got != want || string(e.After) != `{"n":1}` {
			t.Errorf("%s, %s; want %s", got, e.After, want)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"answer":"x"}`), []byte("y"))
	f.Fuzz(func(t *testing.T, line, more []byte) {
		lines := newLineReader(bytes.NewReader(append(append(line, '\n'), more...)), 1<<10)
		for {
			var r reply
			if err := lines.read(&r); err != nil {
				return
			}
			if len(r.Data) > 1<<10 || len(r.Answer) > 4<<10 {
				t.Error("longer than its line")
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		}
	})
}
