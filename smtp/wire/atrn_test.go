package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp"
)

// turning is a configuration in which every ATRN begins a turn.
func turning(turn func(net.Conn)) *Config {
	cfg := testConfig()
	cfg.ATRN = func(*Conn, string) (*smtp.Reply, func(net.Conn)) {
		return smtp.NewReply(250, [3]int{2, 0, 0}, "turning"), turn
	}
	return cfg
}

// A turn is run even where its reply cannot be sent, and finds out at once: it
// has something to give back.
func TestTurnOnBrokenConnection(t *testing.T) {
	for name, spoil := range map[string]func(net.Conn){
		"closed":       func(c net.Conn) { c.Close() },
		"nobody reads": func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan string, 1)
				c, _, _ := serve(t, turning(func(c net.Conn) {
					c.SetDeadline(time.Now().Add(time.Hour))
					_, err := io.WriteString(c, "EHLO us\r\n")
					done <- fmt.Sprint(err)
				}))
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

// A shutdown leaves a turn to who gives it, and cuts it off in the end.
func TestTurnAndShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		c, l, _ := serve(t, turning(func(c net.Conn) {
			c.SetDeadline(time.Time{})
			io.Copy(io.Discard, c)
			close(done)
		}))
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
