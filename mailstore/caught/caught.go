// Package caught turns a panic into an error. Work that begins with what others sent,
// such as a message that is parsed, must not end the server: it does that again after
// each restart, when the same message comes again.
//
// A panic leaves the work half done. The caller sets the message or the connection
// aside, and does not try it again at once. The work must release its locks by defer.
package caught

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// A Panic is what Do returns for one.
type Panic struct {
	Value any
	Stack string
}

func (p *Panic) Error() string { return fmt.Sprintf("a mistake of the program: %v", p.Value) }

// Do runs do. Its error is do's, or a *Panic.
func Do(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: string(debug.Stack())}
		}
	}()
	return do()
}

// Is reports whether an error came of a panic.
func Is(err error) bool {
	_, ok := errors.AsType[*Panic](err)
	return ok
}

// Log writes down what an error came of a panic has to tell, with its stack. Other
// errors are not written, and a nil log takes none. The message says what was set aside; args name it.
func Log(log *slog.Logger, err error, message string, args ...any) {
	if p, ok := errors.AsType[*Panic](err); ok && log != nil {
		log.Error(message, append(args, "panic", fmt.Sprint(p.Value), "stack", p.Stack)...)
	}
}
