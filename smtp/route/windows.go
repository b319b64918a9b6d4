package route

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Windows are the times at which mail may leave, in local time of the arguments. The zero value
// means always.
type Windows struct {
	limited bool // false: always open; true without spans: never open
	spans   []span
	text    []string
}

// span is one window. It opens on each of its days at from and closes at to, on the next day if to
// is not later than from. Both are minutes of the day.
type span struct {
	days     [7]bool // by time.Weekday
	from, to int
}

const minutesPerDay = 24 * 60

// ParseWindows parses windows such as "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-12:00", "22:00-06:00"
// (every day, over midnight) and "Sun" (all day). A single "never" means that mail leaves only on
// request. An empty list means always.
func ParseWindows(texts []string) (Windows, error) {
	w := Windows{limited: len(texts) > 0, text: slices.Clone(texts)}
	for _, text := range texts {
		if strings.EqualFold(strings.TrimSpace(text), "never") {
			if len(texts) > 1 {
				return Windows{}, errors.New(`"never" must be the only window`)
			}
			return w, nil
		}
		s, err := parseSpan(text)
		if err != nil {
			return Windows{}, fmt.Errorf(`%q is not a window such as "Mon-Fri 08:00-18:00": %w`, text, err)
		}
		w.spans = append(w.spans, s)
	}
	return w, nil
}

func parseSpan(text string) (span, error) {
	s := span{to: minutesPerDay}
	fields := strings.Fields(text)
	if len(fields) == 0 || len(fields) > 2 {
		return span{}, errors.New("it must have days, times, or days and times")
	}
	times := ""
	if last := fields[len(fields)-1]; strings.Contains(last, ":") {
		times = last
		fields = fields[:len(fields)-1]
	}
	if len(fields) == 2 {
		return span{}, fmt.Errorf("%q is not a range of times", fields[1])
	}
	if len(fields) == 0 {
		s.days = [7]bool{true, true, true, true, true, true, true}
	} else if err := s.parseDays(fields[0]); err != nil {
		return span{}, err
	}
	if times != "" {
		return s, s.parseTimes(times)
	}
	return s, nil
}

func (s *span) parseDays(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		from, err := parseDay(first)
		if err != nil {
			return err
		}
		to := from
		if ranged {
			if to, err = parseDay(last); err != nil {
				return err
			}
		}
		for day := from; ; day = (day + 1) % 7 {
			s.days[day] = true
			if day == to {
				break
			}
		}
	}
	return nil
}

func parseDay(s string) (time.Weekday, error) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if name := day.String(); strings.EqualFold(s, name) || strings.EqualFold(s, name[:3]) {
			return day, nil
		}
	}
	return 0, fmt.Errorf("%q is not a day: Mon, Tue, Wed, Thu, Fri, Sat, Sun", s)
}

func (s *span) parseTimes(text string) error {
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return fmt.Errorf("%q has no end, as in 08:00-18:00", text)
	}
	var err error
	if s.from, err = parseClock(from); err != nil {
		return err
	}
	if s.to, err = parseClock(to); err != nil {
		return err
	}
	if s.from == minutesPerDay {
		return errors.New("a window cannot begin at 24:00")
	}
	if s.from == s.to {
		return errors.New("it ends at the time it begins")
	}
	return nil
}

func parseClock(s string) (int, error) {
	hours, minutes, ok := strings.Cut(s, ":")
	h, err := strconv.ParseUint(hours, 10, 8)
	if err != nil || !ok || len(hours) > 2 || len(minutes) != 2 {
		return 0, fmt.Errorf("%q is not a time of day (00:00 to 24:00)", s)
	}
	m, err := strconv.ParseUint(minutes, 10, 8)
	if err != nil || m > 59 || h*60+m > minutesPerDay {
		return 0, fmt.Errorf("%q is not a time of day (00:00 to 24:00)", s)
	}
	return int(h*60 + m), nil
}

// Open reports whether mail may leave at t.
func (w Windows) Open(t time.Time) bool {
	if !w.limited {
		return true
	}
	return slices.ContainsFunc(w.spans, func(s span) bool { return s.open(t) })
}

func (s span) open(t time.Time) bool {
	now, day, before := clock(t), t.Weekday(), (t.Weekday()+6)%7
	if s.from < s.to {
		return s.days[day] && s.from <= now && now < s.to
	}
	return s.days[day] && s.from <= now || s.days[before] && now < s.to
}

func clock(t time.Time) int { return t.Hour()*60 + t.Minute() }

// Next returns the first time from t on at which mail may leave. This is t itself while a window is
// open, and zero if no window will ever open.
func (w Windows) Next(t time.Time) time.Time {
	if w.Open(t) {
		return t
	}
	var next time.Time
	for _, s := range w.spans {
		if opens := s.next(t); next.IsZero() || opens.Before(next) {
			next = opens
		}
	}
	return next
}

// next returns the first opening after t, or zero if there is none.
func (s span) next(t time.Time) time.Time {
	for ahead := range 9 {
		opens := time.Date(t.Year(), t.Month(), t.Day()+ahead, s.from/60, s.from%60, 0, 0,
			t.Location())
		if clock(opens) != s.from { // in the hour that is skipped in spring
			opens = s.firstOpen(opens.Add(-2 * time.Hour))
		}
		if s.open(opens) && opens.After(t) {
			return opens
		}
	}
	return time.Time{}
}

// firstOpen returns the first minute within four hours of t at which the span is open.
func (s span) firstOpen(t time.Time) time.Time {
	for range 4 * 60 {
		if s.open(t) {
			return t
		}
		t = t.Add(time.Minute)
	}
	return t
}

// String returns the windows as given, or "always".
func (w Windows) String() string {
	if !w.limited {
		return "always"
	}
	return strings.Join(w.text, "; ")
}
