package auth

// A step takes one response of the client and gives the next challenge.
type step func(response []byte) (challenge []byte, err error)

// An exchange leads the steps of a mechanism: the last one's success ends it.
// Whatever is too long, comes when nothing is due, or follows an error, is
// ErrMalformed. It is a sasl.Server.
type exchange struct {
	greeting []byte // the challenge where there is no initial response; not nil
	greets   bool   // the greeting is a challenge: an initial response has no place
	limit    int    // of a response, in octets
	steps    []step // those to come
	begun    bool
}

// Next implements sasl.Server. A nil response is none.
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
