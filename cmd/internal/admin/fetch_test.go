package admin

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/fetch"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

func TestFetch(t *testing.T) {
	o := office(t)
	if _, err := FetchList.Do(t.Context(), o, struct{}{}); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
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
	o.Running = &Running{Fetch: f}
	results, err := FetchNow.Do(t.Context(), o, "isp")
	if err != nil || len(results) != 1 || len(results[0].ETRN) != 1 {
		t.Error(results, err)
	}
	travels(t, "results", results)
	all, err := FetchList.Do(t.Context(), o, struct{}{})
	if err != nil || len(all) != 1 || all[0].Name != "isp" || all[0].Last == nil {
		t.Error(all, err)
	}
	travels(t, "entries", all)
	if _, err := FetchNow.Do(t.Context(), o, "else"); err == nil || !strings.Contains(err.Error(), `no such [[fetch]]: "else"`) {
		t.Error(err)
	}
	events, _, err := o.Audit(AuditQuestion{Object: "isp"})
	if err != nil || len(events) != 1 || events[0].Act != "fetch now" {
		t.Errorf("%+v, %v", events, err)
	}
}
