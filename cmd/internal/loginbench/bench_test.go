package loginbench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/tls/certs"
)

const (
	password = "Korrekt.Horse+bench1"
	workers  = 10
	// each is the number of mailboxes of a worker. It uses them in turn, since a maildrop may stay
	// locked a moment longer than its session.
	each = 8
)

// BenchmarkLogIn connects, logs in and sends QUIT, without TLS. "First" is the first login to a
// mailbox since the start: the password is hashed. "Again" is a later one. The other mechanisms
// have no cache.
func BenchmarkLogIn(b *testing.B) {
	o := newOffice(b)
	regulars := o.newUsers(b, workers*each)
	for _, p := range protocols() {
		address := o.addresses[p.name][0]
		for _, w := range p.mechanisms {
			bare := listenBare(b, record(b, p, w, address, regulars[0]))
			if w.hashes {
				name := p.name + "/" + w.name + "/first/"
				b.Run(name+"pillarbox", func(b *testing.B) {
					measure(b, p, w, address, o.newUsers(b, b.N))
				})
				b.Run(name+"bare", func(b *testing.B) { measure(b, p, w, bare, regulars) })
			}
			name := p.name + "/" + w.name + "/"
			if w.hashes {
				name += "again/"
				logInAll(b, p, w, address, regulars)
			}
			b.Run(name+"pillarbox", func(b *testing.B) { measure(b, p, w, address, regulars) })
			b.Run(name+"bare", func(b *testing.B) { measure(b, p, w, bare, regulars) })
		}
	}
}

// measure logs in b.N times; each worker has its own users. The CPU time is the process's: server,
// client and kernel.
func measure(b *testing.B, p protocol, w mechanism, address string, users []string) {
	before := cpuTime(b)
	var next atomic.Int64
	b.ResetTimer()
	var working sync.WaitGroup
	for worker := range min(workers, len(users)) {
		working.Go(func() {
			for i := worker; next.Add(1) <= int64(b.N); i += workers {
				if _, err := logIn(p, w, address, users[i%len(users)]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
	b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N)*1000, "cpu-s/1000")
}

// logInAll logs every user in once.
func logInAll(b *testing.B, p protocol, w mechanism, address string, users []string) {
	b.Helper()
	for _, user := range users {
		if _, err := logIn(p, w, address, user); err != nil {
			b.Fatal(err)
		}
	}
}

func record(b *testing.B, p protocol, w mechanism, address, user string) []string {
	b.Helper()
	replies, err := logIn(p, w, address, user)
	if err != nil {
		b.Fatal(err)
	}
	return replies
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// office is a running server and the directory of its mailboxes.
type office struct {
	addresses map[string][]string // by service, as in [listen]
	dir       *directory.Directory
	account   directory.Account // the same for every mailbox
	users     int
}

const settings = `hostname = "mail.office.example"
data = "data"
[listen]
smtp = []
submission = ["127.0.0.1:0"]
smtps = []
pop3 = ["127.0.0.1:0"]
pop3s = []
[auth]
plaintext_networks = ["127.0.0.0/8"]
store = ["spa", "cram-md5", "apop", "scram"]
`

func newOffice(b *testing.B) *office {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	file := filepath.Join(b.TempDir(), "pillarbox.toml")
	data := filepath.Join(filepath.Dir(file), "data")
	must(os.WriteFile(file, []byte(settings), 0o600))
	must(os.Mkdir(data, 0o700))
	_, err := certs.Ensure(filepath.Join(data, "tls"), []string{"mail.office.example"}, nil, time.Now())
	must(err)
	root, err := durable.Open(data)
	must(err)
	b.Cleanup(func() { root.Close() })

	o := &office{dir: directory.New(root, directory.Options{})}
	must(o.dir.AddDomain("office.example"))
	keeper := auth.NewSecretStore(auth.NewSecretKey(filepath.Join(data, "secrets.key")), auth.Rules{Store: directory.SecretKinds()})
	set, err := keeper.New(addr.Address{Local: "user", Domain: "office.example"}, o.account, password, time.Now())
	must(err)
	must(set(&o.account))

	d, err := daemon.Start(func() (*config.Config, error) { return config.Load(file, nil) }, io.Discard)
	must(err)
	o.addresses = d.Addresses()
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := d.Run(ctx, nil); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		stop()
		serving.Wait()
	})
	return o
}

// newUsers makes count mailboxes, all with the same password hash, since hashing for each would
// take longer than the measurement. The server gains nothing from that: it caches logins by
// mailbox.
func (o *office) newUsers(b *testing.B, count int) (names []string) {
	b.Helper()
	for range count {
		o.users++
		a := addr.Address{Local: fmt.Sprintf("user%d", o.users), Domain: "office.example"}
		if _, err := o.dir.AddMailbox(a, o.account); err != nil {
			b.Fatal(err)
		}
		names = append(names, a.String())
	}
	return names
}
