package simulate

import (
	"regexp"
	"slices"
	"time"
)

var variable = regexp.MustCompile(`\b(t\d+|import\d|P3_\S+|[a-z]+@[a-z]+\.example|\S*/\S*|\d+|".*)`)

// kindOf is what failures of one kind have in common.
func kindOf(wrong string) string {
	if len(wrong) > 300 {
		wrong = wrong[:300]
	}
	return variable.ReplaceAllString(wrong, "…")
}

// shrink makes a history shorter, as long as it fails in the same way. fails runs a history and returns what was wrong first.
// It ends after some time with what it has.
func shrink(h History, limit time.Duration, fails func(History) string) History {
	kind := kindOf(fails(h))
	if kind == "" {
		return h // not each time
	}
	began := time.Now()
	try := func(steps []Step) bool {
		if time.Since(began) > limit {
			return false
		}
		next := h
		next.Steps = steps
		if kindOf(fails(next)) != kind {
			return false
		}
		h = next
		return true
	}
	for before := -1; before != weight(h.Steps); {
		before = weight(h.Steps)
		dropSteps(&h, try)
		simplify(&h, try)
	}
	return h
}

func weight(steps []Step) (n int) {
	for _, s := range steps {
		n += 100 + weight(s.With) + len(s.To) + len(s.How) + s.Wait + s.Size + s.Count + s.At
	}
	return n
}

// dropSteps leaves out more and more of the steps: large pieces first.
func dropSteps(h *History, try func([]Step) bool) {
	for size := len(h.Steps); size > 0; size /= 2 {
		for at := 0; at < len(h.Steps); {
			rest := slices.Delete(slices.Clone(h.Steps), at, min(at+size, len(h.Steps)))
			if !try(rest) {
				at += size
			}
		}
	}
}

// simplify makes single steps simpler.
func simplify(h *History, try func([]Step) bool) {
	change := func(i int, edit func(*Step) bool) {
		steps := slices.Clone(h.Steps)
		if edit(&steps[i]) {
			try(steps)
		}
	}
	for i := 0; i < len(h.Steps); i++ {
		if s := h.Steps[i]; len(s.With) > 0 {
			for n := len(s.With) - 1; n >= 0 && len(h.Steps[i].With) > 1; n-- {
				change(i, func(s *Step) bool {
					s.With = slices.Delete(slices.Clone(s.With), n, n+1)
					return true
				})
			}
			if i >= len(h.Steps) {
				return
			}
			apart := slices.Concat(h.Steps[:i:i], h.Steps[i].With, h.Steps[i+1:])
			try(apart)
		}
		for n := len(h.Steps[i].To) - 1; n >= 0 && len(h.Steps[i].To) > 1; n-- {
			change(i, func(s *Step) bool {
				if len(s.To) <= n {
					return false
				}
				s.To = slices.Delete(slices.Clone(s.To), n, n+1)
				return true
			})
		}
		change(i, func(s *Step) bool { changed := s.Wait > 0; s.Wait = 0; return changed })
		change(i, func(s *Step) bool {
			changed := s.Do == "send" && s.How != ""
			s.How, s.At = "", 0
			return changed
		})
		change(i, func(s *Step) bool { changed := s.Do == "send" && s.Size > 300; s.Size = 300; return changed })
		change(i, func(s *Step) bool { changed := s.Count > 1; s.Count = 1; return changed })
		change(i, func(s *Step) bool { changed := s.At > 1; s.At /= 2; return changed })
	}
}
