package dns

import (
	"context"
	"net"
	"sync/atomic"
)

// NewClient returns a resolver that asks one of the servers, "ip:port", until it fails, then the
// next. Without servers it asks those of the system. Unlike a Resolver it caches nothing; the
// caller sets the limits.
func NewClient(servers []string) *net.Resolver {
	if len(servers) == 0 {
		return &net.Resolver{PreferGo: true}
	}
	var turn atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(
		ctx context.Context, network, _ string,
	) (net.Conn, error) {
		n := turn.Load()
		next := func() { turn.CompareAndSwap(n, n+1) }
		c, err := new(net.Dialer).DialContext(ctx, network, servers[int(n)%len(servers)])
		if err != nil {
			next()
			return nil, err
		}
		if u, ok := c.(*net.UDPConn); ok {
			return watched{u, next}, nil
		}
		return c, nil
	}}
}

// watched notices a server that does not answer. It embeds the concrete type, because package net
// uses the type to tell datagrams from streams.
type watched struct {
	*net.UDPConn
	failed func()
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.UDPConn.Read(p)
	if err != nil {
		w.failed()
	}
	return n, err
}
