package connlimit

import (
	"log/slog"
	"time"
)

// refusals logs refusals by limits: at most one line a minute for each limit of each service, so
// that a crowd cannot fill the log. The zero value is ready for use. It is not safe for concurrent
// use.
type refusals struct {
	last map[[2]string]*refusal
}

type refusal struct {
	logged   time.Time
	unlogged int // refusals since the last log line
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
	one.unlogged++
	if now := time.Now(); one.logged.IsZero() || now.Sub(one.logged) >= pause {
		log.Warn(text, append([]any{"limit", limit, "service", service, "refused", one.unlogged},
			more...)...)
		one.logged, one.unlogged = now, 0
	}
}
