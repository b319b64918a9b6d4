package connlimit

import (
	"net"
	"net/netip"
)

// Screen returns inner with a check of each client's address before anything else. If refuse
// returns true, the connection gets line, complete with its CRLF, and is closed. With an empty
// line, for ports where TLS comes first, it is only closed. refuse gets the address without IPv4
// mapping and zone, or the zero Addr if the client has none.
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
