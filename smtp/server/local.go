package server

import (
	"net"
	"net/netip"
	"os/user"
	"strconv"
	"syscall"

	"pillarbox/smtp/policy"
)

// localListener accepts connections of programs on this machine over a unix socket. They appear to
// come from 127.0.0.1.
type localListener struct{ net.Listener }

func (l localListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &localConn{Conn: c, user: peerUser(c)}, nil
}

// localConn is a connection of a program on this machine.
type localConn struct {
	net.Conn
	user string // the user that the program runs as
}

func (c *localConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
}

// peerUser returns the user of the program at the other end.
func peerUser(c net.Conn) string {
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = outer.NetConn()
	}
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return "unknown"
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return "unknown"
	}
	var cred *syscall.Ucred
	if ctlErr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); ctlErr != nil || err != nil {
		return "unknown"
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "uid " + uid
}

// localDevice treats a program on this machine as a device, with the rights in may and the name of
// its user. It returns nil for other connections.
func localDevice(c net.Conn, may policy.Device) *policy.Device {
	local, ok := c.(*localConn)
	if !ok {
		return nil
	}
	may.Name = "this machine, user " + local.user
	return &may
}
