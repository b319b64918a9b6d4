package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMonitoring: figures are for this machine only unless a key admits others, and a webhook has a
// signature and encryption.
func TestMonitoring(t *testing.T) {
	dir := t.TempDir()
	secret, open := filepath.Join(dir, "secret"), filepath.Join(dir, "open")
	for file, mode := range map[string]os.FileMode{secret: 0o600, open: 0o644} {
		if err := os.WriteFile(file, []byte("key\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ text, want string }{
		{``, ""},
		{`listen.metrics = []`, ""},
		{`listen.metrics = ["127.0.0.1:1", "[::1]:1", "localhost:2", "127.9.9.9:1"]`, ""},
		{`listen.metrics = ["127.0.0.1:1", ":9125"]`, `other machines could read the figures at ":9125"`},
		{`listen.metrics = ["0.0.0.0:9125"]`, "metrics.token_file"},
		{`listen.metrics = ["192.168.1.10:9125"]`, "could read the figures"},
		{`listen.metrics = ["[::]:9125"]`, "could read the figures"},
		{`listen.metrics = ["mail.office.example:9125"]`, "could read the figures"},
		{`listen.metrics = [":25"]`, "takes the same port"},
		{`listen.metrics = [":9125"]` + "\nmetrics.token_file = 'SECRET'", ""},
		{`listen.metrics = [":9125"]` + "\nmetrics.clients = ['monitor@office.example']", ""},
		{`metrics.clients = ['monitor']`, "is not a mail address"},
		{"metrics.token_file = 'OPEN'", "every user of this machine can read the password"},
		{"metrics.token_file = 'nowhere'", "does not exist"},
		{"alerts.webhook = 'https://hook.example/x'", "has no key for its signature"},
		{"alerts.webhook = 'https://hook.example/x'\nalerts.secret_file = 'SECRET'", ""},
		{"alerts.webhook = 'https://hook.example/x'\nalerts.secret_file = 'OPEN'", "every user"},
		{"alerts.webhook = 'http://127.0.0.1:8080/x'\nalerts.secret_file = 'SECRET'", ""},
		{"alerts.webhook = 'http://hook.example/x'\nalerts.secret_file = 'SECRET'", "no encryption"},
		{"alerts.webhook = 'https://u:p@hook.example/'\nalerts.secret_file = 'SECRET'", "not the URL"},
		{"alerts.webhook = 'hook.example'", "is not the URL of a webhook"},
		{"alerts.disk = 'none'\nalerts.certificate_days = 0\nalerts.queue_age = '0'\nalerts.bans = 0", ""},
		{"alerts.queue_age = '1m'", "out of range"},
		{"telemetry.endpoint = 'http://127.0.0.1:4318'", ""},
		{"telemetry.endpoint = 'https://collector.example/v1/traces'", ""},
		{"telemetry.endpoint = 'http://collector.example:4318'", "no encryption"},
		{"telemetry.endpoint = 'grpc://collector.example:4317'", "is not the URL of a collector"},
		{"telemetry.header_file = 'OPEN'", "every user of this machine can read the password"},
		{"telemetry.header_file = 'SECRET'", ""},
		{"telemetry.ca_file = 'SECRET'", "contains no certificate"},
	} {
		text := strings.NewReplacer("SECRET", secret, "OPEN", open).Replace(test.text)
		_, err := load(t, "hostname = \"mail.office.example\"\n"+text)
		if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
			t.Errorf("%s: %v, want %q", text, err, test.want)
		}
	}
}
