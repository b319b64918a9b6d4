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

// office is a server that was set up in a directory.
type office struct {
	dir, binary string
	smtp        string // ports
	submission  string
	cmd         *exec.Cmd
}

func newOffice(dir, binary, sink string) (*office, error) {
	o := &office{dir: dir, binary: binary, smtp: freePort(), submission: freePort()}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	setup := exec.Command(binary, "setup", "office.example", "--hostname", "mail.office.example", "--mailbox", "anna", "--password-stdin",
		"--data", filepath.Join(dir, "data"), "--port-offset", "20000")
	setup.Env = o.environment(sink)[:2]
	setup.Stdin = strings.NewReader(password + "\n")
	if out, err := setup.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("setup: %w\n%s", err, out)
	}
	o.cmd = exec.Command(binary, "serve")
	o.cmd.Env = o.environment(sink)
	return o, nil
}

func (o *office) environment(sink string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "PILLARBOX_CONFIG=" + filepath.Join(o.dir, "pillarbox.toml"),
		"PILLARBOX_LISTEN_SMTP=127.0.0.1:" + o.smtp, "PILLARBOX_LISTEN_SUBMISSION=127.0.0.1:" + o.submission,
		"PILLARBOX_LISTEN_SMTPS=", "PILLARBOX_LISTEN_POP3=", "PILLARBOX_LISTEN_POP3S=",
		"PILLARBOX_AUTH_PLAINTEXT_NETWORKS=127.0.0.0/8", "PILLARBOX_OUTSIDE_PER_HOUR=0", "PILLARBOX_LOG_LEVEL=warn",
		"PILLARBOX_OUTBOUND_SMART_HOST=[127.0.0.1]:" + sink, "PILLARBOX_OUTBOUND_TLS=off",
		"PILLARBOX_LIMITS_CONNECTIONS_PER_ACCOUNT=1000",
	}
}

func (o *office) start() error {
	if err := logged(o.cmd, filepath.Join(o.dir, "log")); err != nil {
		return err
	}
	return awaitPort(o.submission)
}

// queued is how many messages the server has in its queue, as far as it has read it.
func (o *office) queued() (count int, err error) {
	cmd := exec.Command(o.binary, "admin", "queue", "active", "--json")
	cmd.Env = o.cmd.Env
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
	o, err := newOffice(dir, binary, sink)
	if err == nil {
		err = o.start()
	}
	if err != nil {
		return r, err
	}
	defer end(o.cmd)
	login := func(c *client) error { return c.login("anna@office.example", password) }
	if err := sendAll(o.submission, 1, 1, login); err != nil { // the password is hashed once
		return r, err
	}
	before, err := cpuTime(o.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := sendAll(o.submission, conns, messages, login); err != nil {
		return r, err
	}
	if err := awaitEmpty(o.queued); err != nil {
		return r, err
	}
	took := time.Since(began).Seconds()
	after, err := cpuTime(o.cmd.Process.Pid)
	return result{rate: float64(messages) / took, cpu: (after - before) * 1000 / float64(messages)}, err
}

// measureStart fills a queue with mail for a destination that is not there, starts the server, and prints how long it takes
// to listen, to have read the queue, and what it holds in memory then.
func measureStart(dir, binary string, queued int) error {
	o, err := newOffice(dir, binary, freePort())
	if err != nil {
		return err
	}
	if err := fill(filepath.Join(dir, "data"), queued); err != nil {
		return err
	}
	began := time.Now()
	if err := o.start(); err != nil {
		return err
	}
	listening := time.Since(began)
	defer end(o.cmd)
	count := 0
	for end := began.Add(2 * time.Minute); count < queued && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if count, err = o.queued(); err != nil {
			return err
		}
	}
	read := time.Since(began)
	memory, err := resident(o.cmd.Process.Pid)
	if err != nil {
		return err
	}
	cpu, err := cpuTime(o.cmd.Process.Pid)
	fmt.Printf("BenchmarkQueueStart/queued=%d/pillarbox 1 %d ns/op %.1f MiB %.2f s-read %.2f cpu-s\n",
		queued, listening.Nanoseconds(), float64(memory)/1024, read.Seconds(), cpu)
	return err
}

// fill puts messages into a queue whose server does not run.
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
		if _, err := fmt.Fprint(in, smtp.ReturnPath(from), strings.TrimSuffix(body, ".\r\n")); err != nil {
			return err
		}
		item := queue.NewItem(in.ID(), &env, env.To, queue.Source{Service: "submission", User: from}, in.Size(), time.Now())
		in.Spool(item.Encode())
		if _, err := in.Commit(nil); err != nil {
			return err
		}
	}
	return nil
}
