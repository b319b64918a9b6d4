package connlimit

import (
	"log/slog"
	"time"
)

// refusals writes down what limits refuse, each limit of each service at most once a
// minute: a crowd must not fill the log. The zero value is ready for use. It is not
// safe for concurrent use.
type refusals struct {
	last map[[2]string]*refusal
}

type refusal struct {
	told  time.Time
	since int // refused and not told of
}

func (r *refusals) log(log *slog.Logger, text, limit, service string, more ...any) {
	const pause = time.Minute
	if r.last == nil {
		r.last = make(map[[2]string]*refusal)
	}
	key := [2]string{limit, service}
	one := r.last[key]
	if one == nil {
		one = new(refusal)
		r.last[key] = one
	}
	one.since++
	if now := time.Now(); one.told.IsZero() || now.Sub(one.told) >= pause {
		log.Warn(text, append([]any{"limit", limit, "service", service, "refused", one.since}, more...)...)
		one.told, one.since = now, 0
	}
}
