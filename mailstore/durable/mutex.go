package durable

// mutex is a lock that is held while the disk works. Waiting for it is waiting for a channel, so that a test in virtual
// time does not stand still while a writer holds it. The zero value is of no use; see newMutex.
type mutex chan struct{}

func newMutex() mutex { return make(mutex, 1) }

func (m mutex) Lock()   { m <- struct{}{} }
func (m mutex) Unlock() { <-m }
