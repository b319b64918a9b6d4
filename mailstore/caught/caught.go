// Package caught turns a panic into an error. It is for work on data from outside, such as parsing
// a message: a panic there would stop the server, and again after each restart when the same
// message comes back.
//
// Call Do around the work, and Log for its error. A panic leaves the work half done. The caller
// must set the message or connection aside and must not try again at once. The work must release
// its locks by defer. Do does not catch a panic on another goroutine.
package caught

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Panic is the error that Do returns for a panic.
type Panic struct {
	Value any
	Stack string
}

func (p *Panic) Error() string { return fmt.Sprintf("a mistake of the program: %v", p.Value) }

// Do calls do. It returns do's error, or a *Panic.
func Do(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: string(debug.Stack())}
		}
	}()
	return do()
}

// Is reports whether err comes from a panic.
func Is(err error) bool {
	_, ok := errors.AsType[*Panic](err)
	return ok
}

// Log logs the error with its stack if it comes from a panic, and does nothing otherwise. message
// says what was set aside; args name it. log may be nil.
func Log(log *slog.Logger, err error, message string, args ...any) {
	if p, ok := errors.AsType[*Panic](err); ok && log != nil {
		log.Error(message, append(args, "panic", fmt.Sprint(p.Value), "stack", p.Stack)...)
	}
}
