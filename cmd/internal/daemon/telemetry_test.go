package daemon

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"pillarbox/cmd/internal/config"
	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/track"
)

// TestTelemetry: events of the server reach the collector of the configuration, until a reload turns
// them off.
func TestTelemetry(t *testing.T) {
	got := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var data tracepb.TracesData
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &data)
		}
		if err != nil {
			t.Error(err)
		}
		got <- data.String()
	}))
	defer collector.Close()
	var log mailtest.Log
	d := monitored(t, &log, "\ntelemetry.endpoint = \""+collector.URL+"\"\n")
	d.events.Add(track.Event{Kind: track.Delivered, ID: "M1", To: "anna@office.example"})
	turn := func(endpoint string) {
		load := func() (*config.Config, error) {
			cfg, err := d.system.Load()
			if err == nil {
				cfg.Telemetry.Endpoint = endpoint
			}
			return cfg, err
		}
		if r := d.reloadFrom(load); r.Error != "" {
			t.Fatal(r.Error)
		}
	}
	if text := <-got; !strings.Contains(text, "deliver") || !strings.Contains(text, "M1") ||
		!strings.Contains(text, string(d.office.Config().Hostname)) {
		t.Errorf("the collector got %s", text)
	}
	turn("")
	d.events.Add(track.Event{Kind: track.Delivered, ID: "M2", To: "anna@office.example"})
	turn(collector.URL)
	d.events.Add(track.Event{Kind: track.Delivered, ID: "M3", To: "anna@office.example"})
	if text := <-got; strings.Contains(text, "M2") || !strings.Contains(text, "M3") {
		t.Errorf("the collector got %s", text)
	}
}
