package control

import (
	"errors"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// peer is the user at the other end of a unix socket, as the kernel names it.
type peer struct {
	uid    uint32
	name   string   // "#1004" for a uid without a user name
	groups []string // by /etc/group
}

// peerUID asks the kernel for the user at the other end (SO_PEERCRED).
func peerUID(c net.Conn) (uint32, error) {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	if ctlErr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); ctlErr != nil || err != nil {
		return 0, errors.Join(ctlErr, err)
	}
	return cred.Uid, nil
}

// lookUp finds the user's name and groups.
func lookUp(uid uint32) peer {
	p := peer{uid: uid, name: "#" + strconv.FormatUint(uint64(uid), 10)}
	u, err := user.LookupId(p.name[1:])
	if err != nil {
		return p // a uid without a name can be an operator by its number
	}
	p.name = u.Username
	ids, _ := u.GroupIds()
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			p.groups = append(p.groups, g.Name)
		}
	}
	return p
}

// isMaster reports whether the peer could do everything on the files as well: root, and the
// user that the server runs as.
func (p peer) isMaster() bool { return p.uid == 0 || int(p.uid) == os.Geteuid() }
