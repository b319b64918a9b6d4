package daemon

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

func TestServeFetch(t *testing.T) {
	f := fetch.New(fetch.Config{Entries: []config.Fetch{{Name: "isp", ETRNServer: route.Host{Name: "mail.isp.example"}, ETRNDomains: []string{"office.example"}}}}, fetch.Parts{
		AskETRN: func(context.Context, route.Host, *route.Route, string) (smtp.Reply, error) {
			return *smtp.NewReply(250, [3]int{2, 0, 0}, "Queuing"), nil
		},
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	defer func() { stop(); running.Wait() }()
	mux := http.NewServeMux()
	serveFetch(mux, f)
	data := serveTest(t, mux)
	results, err := AskFetchNow(t.Context(), data, "isp")
	if err != nil || len(results) != 1 || len(results[0].ETRN) != 1 {
		t.Error(results, err)
	}
	if all, err := AskFetchList(t.Context(), data); err != nil || len(all) != 1 || all[0].Name != "isp" || all[0].Last == nil {
		t.Error(all, err)
	}
	if _, err := AskFetchNow(t.Context(), data, "else"); err == nil || !strings.Contains(err.Error(), `no such [[fetch]]: "else"`) {
		t.Error(err)
	}
}
