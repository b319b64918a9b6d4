package durable

// mutex is a lock that may be held during disk operations. It is a channel, because a goroutine
// that waits for a sync.Mutex would stop the virtual time of a test. Use newMutex; the zero value
// blocks for ever.
type mutex chan struct{}

func newMutex() mutex { return make(mutex, 1) }

func (m mutex) Lock()   { m <- struct{}{} }
func (m mutex) Unlock() { <-m }
