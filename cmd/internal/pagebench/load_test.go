package pagebench

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	loadRate    = 1000 // requests for pages a second
	loadClients = 20   // browsers that share them
	turn        = 300  // messages
)

// loadPages are the pages of the load.
func loadPages() []string {
	return []string{"/me", "/mailboxes", "/mailbox/user00001@office.example", "/groups", "/overview",
		"/queue", "/devices", "/style.css"}
}

// BenchmarkPageLoad measures from MAIL to the 250, one message after the other, with 1,000 requests a
// second for pages and without. Both take turns in the order ABBA, so that what else the machine does
// is in both figures. "ratio" is the median over the rounds of the median time with the load, divided
// by that without. "noise" is the same of the two turns without a load of each round.
func BenchmarkPageLoad(b *testing.B) {
	o := newOffice(b, size{mailboxes: 100, domains: 1, groups: 5, aliases: 50, devices: 5})
	w := o.logIn(b)
	for _, path := range loadPages() {
		w.get(b, path)
	}
	var latency [2][]time.Duration
	var ratios, noise []float64
	var served int64
	var loaded time.Duration
	o.took(b)
	b.ResetTimer()
	for n := 0; n < b.N; n += 4 * turn {
		a1 := o.took(b)
		begun := time.Now()
		stop := o.load(b, w, &served)
		b1, b2 := o.took(b), o.took(b)
		stop()
		loaded += time.Since(begun)
		a2 := o.took(b)
		ratios = append(ratios, seconds(b1, b2)/seconds(a1, a2))
		noise = append(noise, seconds(a2)/seconds(a1))
		latency[0], latency[1] = append(latency[0], a1, a2), append(latency[1], b1, b2)
	}
	for _, all := range [][]float64{ratios, noise} {
		slices.Sort(all)
	}
	slices.Sort(latency[0])
	slices.Sort(latency[1])
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(ratios[len(ratios)/4], "ratio-low")
	b.ReportMetric(ratios[len(ratios)*3/4], "ratio-high")
	b.ReportMetric(noise[len(noise)/4], "noise-low")
	b.ReportMetric(noise[len(noise)*3/4], "noise-high")
	b.ReportMetric(float64(latency[0][len(latency[0])/2].Microseconds()), "us-without")
	b.ReportMetric(float64(latency[1][len(latency[1])/2].Microseconds()), "us-with")
	b.ReportMetric(float64(served)/loaded.Seconds(), "pages/s")
}

func seconds(all ...time.Duration) (sum float64) {
	for _, one := range all {
		sum += one.Seconds()
	}
	return sum
}

// took returns the median time of a turn's messages.
func (o *office) took(b *testing.B) time.Duration {
	from := user(0, first).String()
	c := o.submit(b, from)
	defer c.Close()
	all := make([]time.Duration, turn)
	for i := range all {
		begun := time.Now()
		c.send(from, user(i%100, first).String())
		all[i] = time.Since(begun)
	}
	slices.Sort(all)
	return all[turn/2]
}

// load asks for pages until stop, which returns when all clients have ended. A request that is late
// does not make the rate of the next ones higher.
func (o *office) load(b *testing.B, w *browser, served *int64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	base, _ := url.Parse(w.base)
	cookie := ""
	for _, c := range w.Jar.Cookies(base) {
		cookie += c.Name + "=" + c.Value + "; "
	}
	var next atomic.Int64
	var clients sync.WaitGroup
	for i := range loadClients {
		clients.Go(func() {
			conn, err := tls.Dial("tcp", o.web, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			every := time.NewTicker(time.Second * loadClients / loadRate)
			defer every.Stop()
			time.Sleep(time.Duration(i) * time.Second / loadRate)
			for {
				select {
				case <-ctx.Done():
					return
				case <-every.C:
				}
				path := loadPages()[int(next.Add(1))%len(loadPages())]
				if err := askRaw(conn, r, o.web, path, cookie); err != nil {
					b.Error(err)
					return
				}
				atomic.AddInt64(served, 1)
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// askRaw asks for a page at a lower cost than http.Client's, since the client takes the server's CPU.
func askRaw(w io.Writer, r *bufio.Reader, host, path, cookie string) error {
	_, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", path, host, cookie)
	if err != nil {
		return err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
