package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// mainCF is Postfix's configuration: it takes mail from this machine and sends it to the sink. DIR
// and SINK are placeholders.
const mainCF = `compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/lib
maillog_file_prefixes = DIR
maillog_file = DIR/log
myhostname = mail.office.example
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
relayhost = [127.0.0.1]:SINK
smtp_tls_security_level = none
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
disable_dns_lookups = yes
`

// masterCF lists Postfix's services. PORT is a placeholder.
const masterCF = `127.0.0.1:PORT inet n - n - 200 smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
`

func measurePostfix(dir, _ string, conns, messages int) (r result, err error) {
	owner, err := user.Lookup("postfix")
	if _, lookErr := exec.LookPath("postfix"); lookErr != nil || err != nil || os.Getuid() != 0 {
		return r, errNotHere
	}
	sink, stop, err := startSink()
	if err != nil {
		return r, err
	}
	defer stop()
	port := freePort()
	for _, sub := range []string{"", "queue", "lib"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return r, err
		}
	}
	uid, _ := strconv.Atoi(owner.Uid)
	if err := os.Chown(filepath.Join(dir, "lib"), uid, -1); err != nil {
		return r, err
	}
	expand := strings.NewReplacer("DIR", dir, "SINK", sink, "PORT", port).Replace
	for name, text := range map[string]string{"main.cf": mainCF, "master.cf": masterCF} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(expand(text)), 0o644); err != nil {
			return r, err
		}
	}
	cmd := exec.Command("postfix", "-c", dir, "start-fg")
	if err := logged(cmd, filepath.Join(dir, "output")); err != nil {
		return r, err
	}
	if err := awaitPort(port); err != nil {
		output, _ := os.ReadFile(filepath.Join(dir, "output"))
		return r, fmt.Errorf("%w\n%s", err, output)
	}
	began := time.Now()
	err = sendAll(port, conns, messages, func(*client) error { return nil })
	if err == nil {
		err = awaitEmpty(func() (int, error) {
			queue := filepath.Join(dir, "queue")
			return countFiles(queue, "incoming", "active", "deferred", "maildrop")
		})
	}
	took := time.Since(began).Seconds()
	_ = exec.Command("postfix", "-c", dir, "stop").Run()
	_ = cmd.Wait() // its exit code does not matter
	if err != nil {
		return r, err
	}
	// This includes Postfix's other processes: the master process has waited for its children.
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	count := float64(messages)
	return result{rate: count / took, cpu: used.Seconds() * 1000 / count}, nil
}

func countFiles(dir string, queues ...string) (count int, err error) {
	for _, q := range queues {
		visit := func(_ string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				count++
			}
			return nil // ignore errors: files come and go
		}
		if err := filepath.WalkDir(filepath.Join(dir, q), visit); err != nil {
			return 0, err
		}
	}
	return count, nil
}
