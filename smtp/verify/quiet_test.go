package verify

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Verify does not wait for a silent DNS for ever, nor again at once.
func TestSilentDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		v := New(Options{Resolver: fake(func(ctx context.Context, _ string) ([]string, error) {
			asked.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		})})
		for _, step := range []struct{ wait, takes time.Duration }{
			{0, 11 * time.Second}, {0, 0}, {quietTime - time.Second, 0}, {time.Second, 11 * time.Second},
		} {
			time.Sleep(step.wait)
			asked.Store(0)
			begin := time.Now()
			got := short(v.Verify(t.Context(), spoof(t)))
			if got != "spf temperror, dkim temperror, dmarc temperror none" || time.Since(begin) != step.takes || (asked.Load() == 0) != (step.takes == 0) {
				t.Errorf("%+v: %s after %v and %d questions", step, got, time.Since(begin), asked.Load())
			}
		}
	})
}

// A sender with silent name servers does not prevent the verification of other mail.
func TestSilentSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := New(Options{Resolver: fake(func(ctx context.Context, name string) ([]string, error) {
			if strings.HasSuffix(name, "bank.example.") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, &net.DNSError{IsNotFound: true}
		})})
		v.Verify(t.Context(), spoof(t))
		f := spoof(t)
		f.Helo, f.From, f.HeaderFrom = "a.example", address(t, "a@b.example"), nil
		begin := time.Now()
		if r := v.Verify(t.Context(), f); r.SPF.Value != None || time.Since(begin) > 10*time.Second {
			t.Errorf("%s after %v", short(r), time.Since(begin))
		}
	})
}

// A cancelled lookup says nothing about DNS.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := New(Options{Resolver: fake(func(ctx context.Context, _ string) ([]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		v.Verify(ctx, spoof(t))
		if took := time.Since(begin); took != time.Second || !v.quiet.IsZero() {
			t.Errorf("%v, quiet until %v", took, v.quiet)
		}
	})
}
