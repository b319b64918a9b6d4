package daemon

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/track"
)

// monitored starts and runs a server with these lines in its configuration.
func monitored(t *testing.T, log *mailtest.Log, lines string) *Daemon {
	t.Helper()
	d, file, text := serverForParts(t, log)
	d.stop()
	if err := os.WriteFile(file, []byte(text+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Start(d.system.Load, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); d.stop() })
	if err := d.start(ctx); err != nil {
		t.Fatal(err)
	}
	return d
}

// freeAddress returns an address that was free a moment ago.
func freeAddress(t *testing.T, host string) string {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func httpGet(t *testing.T, client *http.Client, url, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestMetrics: a running server gives its figures, and those of the events it is told of.
func TestMetrics(t *testing.T) {
	address := freeAddress(t, "127.0.0.1")
	var log mailtest.Log
	d := monitored(t, &log, "listen.metrics = [\""+address+"\"]\n")
	d.metrics.Read(&track.Event{Kind: track.Accepted, Service: "smtp", Size: 7, Count: 1})
	code, text := httpGet(t, http.DefaultClient, "http://"+address+"/metrics", "")
	for _, want := range []string{
		`pillarbox_messages_accepted_total{service="smtp"} 1`, "pillarbox_ready 1",
		"pillarbox_disk_answers 1", "pillarbox_mailboxes 0", "pillarbox_queue_messages 0",
		`pillarbox_certificate_expiry_timestamp_seconds{key="ECDSA",source="own_ca"}`,
		`pillarbox_sessions{service="smtp"} 0`, "go_goroutines", "process_open_fds",
	} {
		if code != 200 || !strings.Contains(text, want) {
			t.Errorf("%d: no %s", code, want)
		}
	}
	if code, text := httpGet(t, http.DefaultClient, "http://"+address+"/readyz", ""); code != 200 {
		t.Errorf("readyz: %d %s", code, text)
	}
	d.serving.Store(false)
	if code, text := httpGet(t, http.DefaultClient, "http://"+address+"/readyz", ""); code != 503 ||
		!strings.Contains(text, "listeners: ") {
		t.Errorf("readyz: %d %s", code, text)
	}
	d.serving.Store(true)
	if r := d.readForAlerts(); !r.Answers || !r.HeldOK || r.DiskPercent <= 0 ||
		r.CertificateEnd.Before(time.Now()) || r.StoreFault != "" {
		t.Errorf("%+v", r)
	}
}

// TestMetricsPortInUse: mail does not stop because the figures have no port.
func TestMetricsPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var log mailtest.Log
	monitored(t, &log, "listen.metrics = [\""+l.Addr().String()+"\"]\n")
	if text := log.Take(); strings.Count(text, "metrics are not served at this address") != 1 {
		t.Error(text)
	}
}

// TestMetricsElsewhere: an address that is not loopback uses TLS and demands the token.
func TestMetricsElsewhere(t *testing.T) {
	_, port, err := net.SplitHostPort(freeAddress(t, "0.0.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log mailtest.Log
	monitored(t, &log, "listen.metrics = [\"0.0.0.0:"+port+"\"]\nmetrics.token_file = \""+token+"\"\n")
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the test is about the token
	}}
	for given, want := range map[string]int{"": 401, "wrong": 401, "right": 200} {
		if code, text := httpGet(t, client, "https://127.0.0.1:"+port+"/metrics", given); code != want {
			t.Errorf("token %q: %d %.80s", given, code, text)
		}
	}
	if code, text := httpGet(t, http.DefaultClient, "http://127.0.0.1:"+port+"/metrics", "right"); code != 400 {
		t.Errorf("without TLS: %d %.80s", code, text)
	}
}

// TestFreePercent: the scarcer of room and inodes counts; a file system without a limit of inodes
// has none.
func TestFreePercent(t *testing.T) {
	for _, test := range []struct {
		space durable.DiskSpace
		want  int
	}{
		{durable.DiskSpace{Size: 200, Free: 30, Files: 100, FreeFiles: 50}, 15},
		{durable.DiskSpace{Size: 200, Free: 100, Files: 100, FreeFiles: 3}, 3},
		{durable.DiskSpace{Size: 200, Free: 100}, 50},
		{durable.DiskSpace{Size: 8e18, Free: 4e16}, 0},
		{durable.DiskSpace{}, 100},
	} {
		if got := freePercent(test.space); got != test.want {
			t.Errorf("%+v: %d, want %d", test.space, got, test.want)
		}
	}
}
