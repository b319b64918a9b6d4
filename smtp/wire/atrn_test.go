package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// serveATRN serves one connection; each ATRN calls deliver.
func serveATRN(t *testing.T, deliver func(net.Conn)) (client net.Conn, l *Listener) {
	t.Helper()
	cfg := testConfig()
	cfg.ATRN = true
	client, l, _ = serveSession(t, cfg, discard{atrn: deliver})
	return client, l
}

// The mail is delivered even if the reply cannot be sent, and the delivery fails at once: it has
// to give its mail back.
func TestATRNOnBrokenConnection(t *testing.T) {
	for name, spoil := range map[string]func(net.Conn){
		"closed":       func(c net.Conn) { c.Close() },
		"nobody reads": func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan string, 1)
				c, _ := serveATRN(t, func(c net.Conn) {
					c.SetDeadline(time.Now().Add(time.Hour))
					_, err := io.WriteString(c, "EHLO us\r\n")
					done <- fmt.Sprint(err)
				})
				talk(t, c, "", "220 ", "EHLO x\r\n", "250 ")
				io.WriteString(c, "ATRN\r\n")
				spoil(c)
				start := time.Now()
				if err := <-done; err != io.ErrClosedPipe.Error() || time.Since(start) > time.Minute {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		})
	}
}

// A shutdown waits for the delivery, and closes its connection in the end.
func TestATRNAndShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		c, l := serveATRN(t, func(c net.Conn) {
			c.SetDeadline(time.Time{})
			io.Copy(io.Discard, c)
			close(done)
		})
		talk(t, c, "", "220 ", "EHLO x\r\n", "250 ", "ATRN\r\n", "250 2.0.0 turning")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		start := time.Now()
		l.Shutdown(ctx)
		<-done
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
