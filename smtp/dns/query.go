package dns

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// query returns a resolver for one query of the lookup with context ctx. Each try goes to the next
// server.
func (r *Resolver) query(ctx context.Context) *net.Resolver {
	var tried atomic.Int32
	end := time.Now().Add(r.timeout)
	return &net.Resolver{
		PreferGo: true,
		// The context from net is ignored: it ends by the timeout in the system's resolv.conf.
		Dial: func(_ context.Context, network, server string) (net.Conn, error) {
			if len(r.servers) == 0 {
				return r.dial(ctx, end, network, server)
			}
			try := tried.Load()
			if network == "udp" { // TCP repeats a truncated answer with the same server
				try = tried.Add(1)
			}
			return r.dial(ctx, end, network, r.servers[int(max(try-1, 0))%len(r.servers)])
		},
	}
}

// dial sets the deadline of one try and prevents net from changing it.
func (r *Resolver) dial(
	ctx context.Context, end time.Time, network, server string,
) (net.Conn, error) {
	if half := time.Now().Add(r.timeout / 2); half.Before(end) {
		end = half
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, err
	}
	// net uses the type to tell datagrams from streams.
	if u, ok := c.(*net.UDPConn); ok {
		return datagrams{u}, nil
	}
	return stream{c}, nil
}

type datagrams struct{ *net.UDPConn }

func (datagrams) SetDeadline(time.Time) error { return nil }

type stream struct{ net.Conn }

func (stream) SetDeadline(time.Time) error { return nil }
