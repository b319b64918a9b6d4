package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/durable"
)

const (
	// commandWait is how long a server that starts waits for a command that works on the data directory.
	commandWait = 10 * time.Second
	// holdLook is how long it is between two looks at the lock.
	holdLook = 100 * time.Millisecond
)

// holdData takes the lock of a data directory for a server. A command that holds it ends soon, and is waited for; with
// another server there, the error comes at once.
func holdData(ctx context.Context, root admin.Files) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	var last *durable.LockedError
	for {
		unlock, err := durable.TryLockAs(root, admin.DataLock, admin.ServerLock)
		held, ok := errors.AsType[*durable.LockedError](err)
		if !ok {
			return unlock, err
		}
		// One look is not enough: the file may still name the holder before.
		if held.As != admin.AdminLock && last != nil && *last == *held {
			return nil, heldError(root, held)
		}
		last = held
		select {
		case <-time.After(holdLook):
		case <-ctx.Done():
			return nil, heldError(root, held)
		}
	}
}

// heldError says who has the data directory.
func heldError(root admin.Files, held *durable.LockedError) error {
	if held.As == admin.AdminLock {
		err := fmt.Errorf("data directory %s: a 'pillarbox admin' command, process %d, has been working on it for more than %s",
			root.Name(), held.PID, commandWait)
		return admin.Hint(err, "start the server when the command has ended")
	}
	stop := "'systemctl stop pillarbox'"
	who := "another server"
	if held.PID != 0 {
		who += fmt.Sprintf(", process %d,", held.PID)
		stop += fmt.Sprintf(" or 'kill %d'", held.PID)
	}
	return admin.Hint(fmt.Errorf("%s serves the data directory %s", who, root.Name()),
		"stop that server first (%s); or to apply a changed configuration, run 'pillarbox admin reload'", stop)
}
