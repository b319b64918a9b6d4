package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pillarbox/cmd/internal/backup"
	"pillarbox/smtp/remote"
)

// Permission is what a verb asks of its caller. Root and the server's own user may do everything.
type Permission int

// The permissions. A domain is one that the input names. The verb's function requires the right to
// that domain, because only the function knows the input.
const (
	SeesDomain    Permission = iota + 1 // to look into a domain; lists leave out the others
	ChangesDomain                       // to change what is in a domain
	SeesAll                             // to look at what belongs to no domain, or to all
	ChangesAll                          // to change that
	RootOnly                            // is done on files of this machine, for no operator
)

// Verb is one thing that an administrator can have done, with its input and its output. verbs.go
// declares every verb. Input and output travel as JSON.
type Verb[In, Out any] struct {
	name       string
	permission Permission
	do         function[In, Out]
}

type function[In, Out any] = func(*Service, context.Context, In) (Out, error)

// verb declares a Verb whose function needs no context.
func verb[In, Out any](
	name string, p Permission, do func(*Service, In) (Out, error),
) Verb[In, Out] {
	return longVerb(name, p, func(s *Service, _ context.Context, in In) (Out, error) {
		return do(s, in)
	})
}

// longVerb declares a Verb that takes time, and ends early when its context does.
func longVerb[In, Out any](name string, p Permission, do function[In, Out]) Verb[In, Out] {
	return Verb[In, Out]{name, p, do}
}

// Name is the verb as the command line and the audit log call it: "mailbox add".
func (v Verb[In, Out]) Name() string { return v.name }

// Permission is what the verb asks of its caller.
func (v Verb[In, Out]) Permission() Permission { return v.permission }

// Do does the verb for the caller whom s is for (Service.For). All callers come this way: here the
// permission is checked, and the recorder of the audit log learns the verb's name. The recorder
// observes changes of the directory. A function calls Record for any other change. Offline, a verb
// that changes something holds the data directory: ErrDataLocked if a server has it.
func (v Verb[In, Out]) Do(ctx context.Context, s *Service, in In) (out Out, err error) {
	s = s.doing(v.name)
	if err := s.permit(v); err != nil {
		return out, err
	}
	if v.permission != ChangesDomain && v.permission != ChangesAll {
		return v.do(s, ctx, in)
	}
	err = s.alone(func() (err error) {
		out, err = v.do(s, ctx, in)
		return err
	})
	return out, err
}

// Command is a Verb of any input and output.
type Command interface {
	Name() string
	Permission() Permission
	// Call is Do with the input and the output in JSON. An output may come with an error.
	// ErrArguments if the input is not understood.
	Call(ctx context.Context, s *Service, in json.RawMessage) (out json.RawMessage, err error)
}

// ErrArguments is the class of errors of an input that the verb does not understand.
var ErrArguments = errors.New("the input is not understood")

// Call implements Command.
func (v Verb[In, Out]) Call(
	ctx context.Context, s *Service, in json.RawMessage,
) (json.RawMessage, error) {
	var input In
	strict := json.NewDecoder(bytes.NewReader(in))
	strict.DisallowUnknownFields() // a flag of another version must not be passed over
	if err := strict.Decode(&input); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", v.name, ErrArguments, err)
	}
	out, err := v.Do(ctx, s, input)
	text, encoding := json.Marshal(out)
	return text, errors.Join(err, encoding)
}

// Caller is the user who calls verbs.
type Caller struct {
	Actor    Actor      // without the Act
	Operator *Operator  // nil: may do everything
	Tell     func(Part) // receives the parts of a verb's progress; nil discards them
}

// Part is a report that a verb sends before its output. One of the fields is set, or Done and All.
type Part struct {
	Note string       `json:"note,omitempty"` // for the person
	Step *remote.Step `json:"step,omitempty"` // of "route test"
	Done int          `json:"done,omitempty"` // those of All that are finished
	All  int          `json:"all,omitempty"`

	Failed *TransferFailure `json:"failed,omitempty"` // of an export or import
	Copied *backup.Progress `json:"copied,omitempty"` // of a backup, a verification or a restore
}

// For returns the service with the rights of a caller. It records what the caller does under the
// caller's name. Operators have the limits that As describes.
func (o *Service) For(c Caller) *Service {
	view := *o
	view.operator, view.tell, view.recorder.actor = c.Operator, c.Tell, c.Actor
	if failed := o.recorder.failed; c.Tell != nil {
		view.recorder.failed = func(err error) {
			c.Tell(Part{Note: err.Error()})
			if failed != nil {
				failed(err)
			}
		}
	}
	view.observe()
	return &view
}

// doing returns the service with the name of a verb for the audit log.
func (o *Service) doing(verb string) *Service {
	actor := o.recorder.actor
	actor.Act = verb
	return o.By(actor)
}

// note tells the caller something that is neither the output nor an error.
func (o *Service) note(format string, args ...any) {
	if o.tell != nil {
		o.tell(Part{Note: fmt.Sprintf(format, args...)})
	}
}

// progress returns a function that tells the caller how much of all is done, some times a second.
// It is called by one goroutine at a time.
func (o *Service) progress() func(done, all int) {
	told := time.Now()
	return func(done, all int) {
		if now := time.Now(); o.tell != nil && now.Sub(told) >= 200*time.Millisecond {
			told = now
			o.tell(Part{Done: done, All: all})
		}
	}
}

// permit checks the permission of a verb as far as it does not depend on the input.
func (o *Service) permit(v interface {
	Name() string
	Permission() Permission
}) error {
	switch v.Permission() {
	case SeesDomain, ChangesDomain:
		return nil
	case SeesAll:
		return o.RequireAll(false)
	case ChangesAll:
		return o.RequireAll(true)
	}
	if o.operator == nil {
		return nil
	}
	const why = "it works on files of this machine, and those of an operator are not the server's"
	return Hint(fmt.Errorf("%w: admin %s: %s", ErrNotPermitted, v.Name(), why),
		"root, or the user that the server runs as, can do it")
}

// Classes of errors that a caller tells apart, besides ErrNotPermitted.
var (
	// ErrUsage is an input that a person mistyped.
	ErrUsage = errors.New("wrong usage")
	// ErrConfirm asks the caller to confirm: the error's text is the question. The caller asks the
	// person and does the verb again with Sure set in its input.
	ErrConfirm = errors.New("not confirmed")
)

// classified is an error with a class that its text does not show.
type classified struct {
	error
	class error
}

func (e classified) Is(target error) bool { return target == e.class }
func (e classified) Unwrap() error        { return e.error }

// usage puts an error into the class ErrUsage; nil stays nil.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return classified{err, ErrUsage}
}

// confirm asks a question, unless the caller is sure.
func confirm(sure bool, format string, args ...any) error {
	if sure {
		return nil
	}
	return classified{fmt.Errorf(format, args...), ErrConfirm}
}
