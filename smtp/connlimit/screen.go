package connlimit

import (
	"net"
	"net/netip"
)

// Screen returns inner with a look at each client before anything else: when
// refuse says so, the connection gets line, whole with its CRLF, and is closed.
// An empty line, for ports where TLS comes first, just closes. refuse gets the
// address without IPv4-mapping and zone; the zero Addr when there is none.
func Screen(inner net.Listener, refuse func(netip.Addr) (line string, refused bool)) net.Listener {
	return &screen{inner, refuse}
}

type screen struct {
	net.Listener
	refuse func(netip.Addr) (string, bool)
}

// Accept returns the next connection that is not refused.
func (s *screen) Accept() (net.Conn, error) {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		line, refused := s.refuse(clientAddress(c.RemoteAddr()))
		if !refused {
			return c, nil
		}
		reject(c, line)
	}
}
