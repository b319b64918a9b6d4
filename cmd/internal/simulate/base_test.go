package simulate

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/tls/certs"
)

// cheapVerifier is the password's, as cheap as the server takes it.
var cheapVerifier = func() string {
	salt := []byte("saltsaltsaltsalt")
	key := argon2.IDKey([]byte(password), salt, 1, 8, 1, 16)
	return fmt.Sprintf("$argon2id$v=19$m=8,t=1,p=1$%s$%s", base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}()

// beginning is when each history begins.
var beginning = time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC)

const configText = `
hostname = "mail.office.example"
data = "data"
default_domain = "office.example"
postmaster = "boss@office.example"
[listen]
smtp = ["192.0.2.1:25"]
submission = ["192.0.2.1:587"]
smtps = []
pop3 = ["192.0.2.1:110"]
pop3s = []
metrics = []
[alerts]
enabled = false
[auth]
plaintext_networks = ["192.168.0.0/16"]
[outbound]
smart_host = ["[192.0.2.25]:25"]
tls = "off"
retries = ["1m", "2m", "5m"]
[pickup]
enabled = false
[local]
enabled = false
[operators]
enabled = false
[limits]
connections_per_address = 1000
[mailboxes]
notices = "off"
[log]
level = "%s"
`

// newBase makes what all histories share.
func newBase(t *testing.T, level string) *base {
	t.Helper()
	b := &base{dir: t.TempDir()}
	must(t, os.Mkdir(filepath.Join(b.dir, "data"), 0o700))
	for i, more := range []string{"", "[smtp]\nmax_errors = 20\n"} {
		file := filepath.Join(b.dir, fmt.Sprintf("pillarbox%d.toml", i))
		must(t, os.WriteFile(file, []byte(fmt.Sprintf(configText, level)+more), 0o600))
		cfg, err := config.Load(file, nil)
		must(t, err)
		b.configs = append(b.configs, cfg)
	}
	_, err := certs.Ensure(b.configs[0].Certs().Dir, []string{"mail.office.example"}, []netip.Addr{}, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
	must(t, err)
	b.source = filepath.Join(b.dir, "import")
	must(t, os.Mkdir(b.source, 0o700))
	for i := range imported {
		name := filepath.Join(b.source, fmt.Sprintf("old%d.eml", i))
		must(t, os.WriteFile(name, []byte(importedMessage(i).text), 0o600))
		old := time.Date(2026, 5, 1, 0, 0, i, 0, time.UTC)
		must(t, os.Chtimes(name, old, old))
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(beginning.AddDate(0, 0, -1)))
		b.furnish(t)
	})
	return b
}

// furnish makes the office: domains, mailboxes and lists, on a disk that all histories begin with.
func (b *base) furnish(t *testing.T) {
	b.disk = mailtest.NewPowerFS()
	office, err := admin.OpenOn(files{b.disk, b.configs[0].Data}, b.config(0), nil)
	must(t, err)
	for _, name := range []addr.Domain{"office.example", "branch.example"} {
		must(t, office.Dir.AddDomain(name))
	}
	for _, name := range boxNames {
		must(t, b.addMailbox(office, name))
	}
	_, err = office.AddGroup("all@office.example", "boss@office.example", "dora@branch.example")
	must(t, err)
	_, err = office.AddAlias("sales@office.example", "boss@office.example")
	must(t, err)
	must(t, office.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// imported is how many messages there are to import.
const imported = 3

func importedMessage(i int) *message {
	token := fmt.Sprintf("import%d", i)
	text := fmt.Sprintf("From: <old@else.example>\r\nSubject: old %d\r\nX-Token: %s\r\n\r\n%s", i, token, strings.Repeat("an old line\r\n", 10*i+3))
	return &message{token: token, from: "old@else.example", text: text}
}
