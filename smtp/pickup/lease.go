package pickup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openElsewhere reports whether a program has the file open for writing. It asks for a read lease,
// which ends when the file is closed (fcntl(2)). The system grants one for files of the server's own
// account, or with CAP_LEASE for all. If it grants none for another reason than a writer, the result
// is false.
func openElsewhere(file *os.File) bool {
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	refused := conn.Control(func(fd uintptr) {
		_, err = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	})
	return refused == nil && errors.Is(err, unix.EAGAIN)
}
