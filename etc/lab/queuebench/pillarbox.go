package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

const password = "Korrekt.Horse+bench1"

// server is an installation of Pillarbox in a directory.
type server struct {
	dir, binary string
	smtp        string // port
	submission  string // port
	cmd         *exec.Cmd
}

func newServer(dir, binary, sink string) (*server, error) {
	s := &server{dir: dir, binary: binary, smtp: freePort(), submission: freePort()}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	setup := exec.Command(binary, "setup", "office.example",
		"--hostname", "mail.office.example", "--mailbox", "anna", "--password-stdin",
		"--data", filepath.Join(dir, "data"), "--port-offset", "20000")
	setup.Env = s.environment(sink)[:2]
	setup.Stdin = strings.NewReader(password + "\n")
	if out, err := setup.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("setup: %w\n%s", err, out)
	}
	s.cmd = exec.Command(binary, "serve")
	s.cmd.Env = s.environment(sink)
	return s, nil
}

func (s *server) environment(sink string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "PILLARBOX_CONFIG=" + filepath.Join(s.dir, "pillarbox.toml"),
		"PILLARBOX_LISTEN_SMTP=127.0.0.1:" + s.smtp,
		"PILLARBOX_LISTEN_SUBMISSION=127.0.0.1:" + s.submission,
		"PILLARBOX_LISTEN_SMTPS=", "PILLARBOX_LISTEN_POP3=", "PILLARBOX_LISTEN_POP3S=",
		"PILLARBOX_AUTH_PLAINTEXT_NETWORKS=127.0.0.0/8", "PILLARBOX_OUTSIDE_PER_HOUR=0",
		"PILLARBOX_LOG_LEVEL=warn",
		"PILLARBOX_OUTBOUND_SMART_HOST=[127.0.0.1]:" + sink, "PILLARBOX_OUTBOUND_TLS=off",
		"PILLARBOX_LIMITS_CONNECTIONS_PER_ACCOUNT=1000",
	}
}

func (s *server) start() error {
	if err := logged(s.cmd, filepath.Join(s.dir, "log")); err != nil {
		return err
	}
	return awaitPort(s.submission)
}

// queued returns the number of messages in the queue, as far as the server has read it.
func (s *server) queued() (count int, err error) {
	cmd := exec.Command(s.binary, "admin", "queue", "active", "--json")
	cmd.Env = s.cmd.Env
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("admin queue active: %w", err)
	}
	var answer struct{ Messages int }
	err = json.Unmarshal(out, &answer)
	return answer.Messages, err
}

func measurePillarbox(dir, binary string, conns, messages int) (r result, err error) {
	sink, stop, err := startSink()
	if err != nil {
		return r, err
	}
	defer stop()
	s, err := newServer(dir, binary, sink)
	if err == nil {
		err = s.start()
	}
	if err != nil {
		return r, err
	}
	defer terminate(s.cmd)
	login := func(c *client) error { return c.login("anna@office.example", password) }
	// The first login hashes the password, which is not to be measured.
	if err := sendAll(s.submission, 1, 1, login); err != nil {
		return r, err
	}
	before, err := cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := sendAll(s.submission, conns, messages, login); err != nil {
		return r, err
	}
	if err := awaitEmpty(s.queued); err != nil {
		return r, err
	}
	took := time.Since(began).Seconds()
	after, err := cpuTime(s.cmd.Process.Pid)
	count := float64(messages)
	return result{rate: count / took, cpu: (after - before) * 1000 / count}, err
}

// measureStart fills a queue with mail for an unreachable destination and starts the server. It
// prints how long the server takes to listen and to read the queue, and how much memory it then
// uses.
func measureStart(dir, binary string, queued int) error {
	s, err := newServer(dir, binary, freePort())
	if err != nil {
		return err
	}
	if err := fill(filepath.Join(dir, "data"), queued); err != nil {
		return err
	}
	began := time.Now()
	if err := s.start(); err != nil {
		return err
	}
	listening := time.Since(began)
	defer terminate(s.cmd)
	count := 0
	deadline := began.Add(2 * time.Minute)
	for count < queued && time.Now().Before(deadline) {
		if count, err = s.queued(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	read := time.Since(began)
	memory, err := resident(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	cpu, err := cpuTime(s.cmd.Process.Pid)
	fmt.Printf("BenchmarkQueueStart/queued=%d/pillarbox "+
		"1 %d ns/op %.1f MiB %.2f s-read %.2f cpu-s\n",
		queued, listening.Nanoseconds(), float64(memory)/1024, read.Seconds(), cpu)
	return err
}

// fill puts messages into a queue. Its server must not be running.
func fill(data string, queued int) error {
	root, err := durable.Open(data)
	if err != nil {
		return err
	}
	defer root.Close()
	store, err := mailstore.Open(root, mailstore.Options{})
	if err != nil {
		return err
	}
	if err := store.Recover(mailstore.RecoverOptions{}); err != nil {
		return err
	}
	defer store.Close()
	from, _ := addr.Parse("anna@office.example")
	to, _ := addr.Parse("somebody@far.example")
	env := smtp.Envelope{From: from, To: []smtp.Recipient{{Address: to}}}
	for range queued {
		in := store.Create()
		_, err := fmt.Fprint(in, smtp.ReturnPath(from), strings.TrimSuffix(body, ".\r\n"))
		if err != nil {
			return err
		}
		source := queue.Source{Service: "submission", User: from}
		item := queue.NewItem(in.ID(), &env, env.To, source, in.Size(), time.Now())
		in.Spool(item.Encode())
		if _, err := in.Commit(nil); err != nil {
			return err
		}
	}
	return nil
}
