package auth

// A step handles one response of the client and returns the next challenge.
type step func(response []byte) (challenge []byte, err error)

// An exchange runs the steps of a mechanism and is done when the last step succeeds. It implements
// sasl.Server. A response that is too long, unexpected, or sent after an error is ErrMalformed.
type exchange struct {
	greeting []byte // challenge to send without an initial response; not nil
	greets   bool   // the greeting carries data, so an initial response is not permitted
	limit    int    // maximum size of a response, in octets
	steps    []step // remaining steps
	begun    bool
}

// Next implements sasl.Server. A nil response means that the client sent none.
func (e *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	first := !e.begun
	e.begun = true
	switch {
	case first && response == nil:
		return e.greeting, false, nil
	case len(e.steps) == 0, response == nil, len(response) > e.limit, first && e.greets:
		e.steps = nil
		return nil, false, ErrMalformed
	}
	do := e.steps[0]
	e.steps = e.steps[1:]
	if challenge, err = do(response); err != nil {
		e.steps = nil
		return nil, false, err
	}
	return challenge, len(e.steps) == 0, nil
}
