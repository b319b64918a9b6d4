package durable

// Mutex is a lock that may be held during disk operations. It is a channel, because a goroutine
// that waits for a sync.Mutex would stop the virtual time of a test. Use NewMutex; the zero value
// blocks for ever.
type Mutex chan struct{}

// NewMutex returns an unlocked Mutex.
func NewMutex() Mutex { return make(Mutex, 1) }

// Lock waits until the lock is free, and takes it.
func (m Mutex) Lock() { m <- struct{}{} }

// Unlock releases the lock.
func (m Mutex) Unlock() { <-m }
