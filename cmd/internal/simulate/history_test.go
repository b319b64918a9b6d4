package simulate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
)

// History is what happens to a server, from an empty disk to the last look. It says everything: the same history does the
// same thing.
type History struct {
	Seed    uint64 `json:"seed"`               // that it was made from
	LogSize int64  `json:"log_size,omitempty"` // of each half of the server's log, in octets
	Steps   []Step `json:"steps"`
}

// Step is one thing that happens. Which fields count depends on Do; see the table in world.do.
type Step struct {
	Do    string   `json:"do"`
	Wait  int      `json:"wait,omitempty"`  // milliseconds before it
	Token string   `json:"token,omitempty"` // names a message
	From  string   `json:"from,omitempty"`
	To    []string `json:"to,omitempty"`
	Box   string   `json:"box,omitempty"`
	Size  int      `json:"size,omitempty"`
	How   string   `json:"how,omitempty"`
	At    int      `json:"at,omitempty"`    // octets, or operations of the disk
	Count int      `json:"count,omitempty"` // how often
	Pause int      `json:"pause,omitempty"` // milliseconds that the client is silent in the middle; other steps go on
	Seed  uint64   `json:"seed,omitempty"`  // of the choices that a fault makes
	Rule  string   `json:"rule,omitempty"`  // what the rules of its mailboxes do with the message
	With  []Step   `json:"with,omitempty"`  // at the same time
}

// String is a history as a file holds it, a step a line.
func (h History) String() string {
	var b bytes.Buffer
	head, _ := json.Marshal(History{Seed: h.Seed, LogSize: h.LogSize})
	fmt.Fprintf(&b, "%s\n", head)
	for _, s := range h.Steps {
		line, _ := json.Marshal(s)
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.String()
}

// parseHistory reads what String wrote. Empty lines and lines that begin with # say nothing.
func parseHistory(text []byte) (h History, err error) {
	first := true
	for n, line := range bytes.Split(text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
			continue
		case first:
			first = false
			err = json.Unmarshal(line, &h)
		default:
			var s Step
			err = json.Unmarshal(line, &s)
			h.Steps = append(h.Steps, s)
		}
		if err != nil {
			return h, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return h, nil
}

// The names that steps choose from.
var (
	boxNames    = []string{"anna@office.example", "boss@office.example", "carl@office.example", "dora@branch.example"}
	otherNames  = []string{"anne@office.example", "bill@office.example", "clara@office.example", "dorothy@branch.example"}
	listNames   = []string{"all@office.example", "sales@office.example"}
	farNames    = []string{"x@far.example", "y@far.example", "z@else.example"}
	strangers   = []string{"friend@else.example", "shop@far.example"}
	importNames = []string{"anna@office.example", "dora@branch.example"}
)

// chooser makes a history. Each history knows only some of the faults and favours some of the acts, which finds more than
// a little of everything in all.
type chooser struct {
	*rand.Rand
	tokens int
	acts   []weighted
	faults []string
	fault  float64 // chance of a fault in place of an act
	jumped int     // hours that the clock was set ahead
	small  bool    // no message is too long for the log

	logSize int64
}

type weighted struct {
	weight int
	make   func(*chooser) Step
}

// generate makes a history of so many steps, without the faults that are switched off.
func generate(seed uint64, steps int, without map[string]bool) History {
	c := &chooser{Rand: rand.New(rand.NewPCG(seed, 12))}
	all := []weighted{
		{30, (*chooser).send}, {14, (*chooser).submit}, {12, (*chooser).fetch}, {12, (*chooser).together}, {4, (*chooser).rename},
		{2, (*chooser).remove}, {2, (*chooser).add}, {3, (*chooser).retention}, {2, (*chooser).importing}, {2, (*chooser).quota},
		{1, (*chooser).reload}, {6, (*chooser).remote}, {4, (*chooser).look}, {3, (*chooser).restart}, {3, (*chooser).orderQueue},
		{2, (*chooser).check},
	}
	for _, a := range all {
		a.weight *= []int{1, 1, 1, 3}[c.IntN(4)]
		c.acts = append(c.acts, a)
	}
	for _, kind := range []string{"cut", "kill", "eio", "sync", "enospc", "emfile", "writeback", "drop-pages", "log-header", "log-short", "slow", "clock"} {
		if !without[kind] && c.IntN(3) > 0 {
			c.faults = append(c.faults, kind)
		}
	}
	c.small = without["large"]
	c.fault = []float64{0, 0.05, 0.15, 0.3}[c.IntN(4)]
	c.logSize = []int64{64 << 10, 128 << 10}[c.IntN(2)]
	h := History{Seed: seed, LogSize: c.logSize}
	for len(h.Steps) < steps {
		s := c.step()
		s.Wait = c.wait()
		if crash := c.mayCrash(); isStorm(s) && crash != "" && c.IntN(3) == 0 { // in the middle of it, or just after
			if c.IntN(2) == 0 {
				h.Steps = append(h.Steps, c.crash(crash), s)
			} else {
				h.Steps = append(h.Steps, s, c.crash(crash))
			}
			continue
		}
		if s.Do == "rename" && c.IntN(4) == 0 { // somebody reads it, and another mailbox gets its name
			h.Steps = append(h.Steps, Step{Do: "fetch", Box: s.Box, Count: 1000, Pause: 3000}, s, Step{Do: "add", Box: s.Box})
			continue
		}
		h.Steps = append(h.Steps, s)
		if c.lasting(s) && c.IntN(4) > 0 { // most faults pass after a while
			for range c.IntN(6) {
				next := c.act()
				next.Wait = c.wait()
				h.Steps = append(h.Steps, next)
			}
			h.Steps = append(h.Steps, Step{Do: "heal"})
		}
	}
	h.addRules()
	h.addUndelete()
	return h
}

// addRules gives some histories a step that sets rules and an archive, and messages that the rules are about. Its choices
// are its own, so that all else is as without it.
func (h *History) addRules() {
	c := &chooser{Rand: rand.New(rand.NewPCG(h.Seed, 13))}
	if len(h.Steps) == 0 || c.IntN(3) > 0 {
		return
	}
	at := c.IntN(1 + len(h.Steps)/4)
	for i := at; i < len(h.Steps); i++ {
		c.rule(&h.Steps[i])
		for j := range h.Steps[i].With {
			c.rule(&h.Steps[i].With[j])
		}
	}
	h.Steps = slices.Insert(h.Steps, at, Step{Do: "rules"})
}

// rule makes a message one that rules are about. A list's members are not always known, so lists get none.
func (c *chooser) rule(s *Step) {
	list := func(to string) bool { return slices.Contains(listNames, to) }
	if s.Do != "send" || slices.ContainsFunc(s.To, list) || c.IntN(4) > 0 {
		return
	}
	if s.Rule = one(c, []string{"discard", "refuse", "forward"}); s.Rule == "forward" && !isLocal(s.From) {
		s.Rule = "discard"
	}
}

func (c *chooser) lasting(s Step) bool {
	return s.Do == "fault" && (s.How == "enospc" || s.How == "emfile" || s.How == "eio" || s.How == "sync" || s.How == "slow")
}

func (c *chooser) wait() int {
	return []int{0, 0, 0, 3, 300, 1100, 6000}[c.IntN(7)]
}

func (c *chooser) step() Step {
	if len(c.faults) > 0 && c.Float64() < c.fault {
		return c.accident()
	}
	return c.act()
}

func (c *chooser) act() Step {
	total := 0
	for _, a := range c.acts {
		total += a.weight
	}
	n := c.IntN(total)
	for _, a := range c.acts {
		if n -= a.weight; n < 0 {
			return a.make(c)
		}
	}
	panic("unreachable")
}

func one[T any](c *chooser, from []T) T { return from[c.IntN(len(from))] }

func (c *chooser) token() string {
	c.tokens++
	return fmt.Sprintf("t%d", c.tokens)
}

// box is the name of a mailbox, most often one that there is.
func (c *chooser) box() string {
	if c.IntN(6) == 0 {
		return one(c, otherNames)
	}
	return one(c, boxNames)
}

func (c *chooser) size() int {
	switch c.IntN(12) {
	case 0:
		if c.small {
			break
		}
		return 66_000 + c.IntN(30_000) // too long for the log
	case 1:
		return 20_000 + c.IntN(30_000)
	}
	return 200 + c.IntN(4000)
}

// how a client's connection ends.
func (c *chooser) end(s *Step) {
	switch c.IntN(12) {
	case 0:
		s.How = "drop" // after so many octets, wherever that is
		s.At = c.IntN(s.Size + 400)
	case 1:
		s.How = "gone" // right after the final dot
	}
	c.pause(s)
}

func (c *chooser) pause(s *Step) {
	if c.IntN(20) == 0 {
		s.Pause = []int{300, 3000, 20_000, 100_000}[c.IntN(4)]
	}
}

func (c *chooser) send() Step {
	s := Step{Do: "send", Token: c.token(), From: one(c, strangers), Size: c.size()}
	for range 1 + c.IntN(3) {
		s.To = append(s.To, c.box())
	}
	if c.IntN(8) == 0 {
		s.To = append(s.To, one(c, listNames))
	}
	c.end(&s)
	return s
}

func (c *chooser) submit() Step {
	s := Step{Do: "send", Token: c.token(), From: c.box(), Size: c.size()}
	for range 1 + c.IntN(2) {
		s.To = append(s.To, one(c, farNames))
	}
	if c.IntN(3) == 0 {
		s.To = append(s.To, c.box())
	}
	c.end(&s)
	return s
}

func (c *chooser) fetch() Step {
	s := Step{Do: "fetch", Box: c.box(), Count: []int{0, 0, 1, 3, 1000}[c.IntN(5)]}
	switch c.IntN(8) {
	case 0:
		s.How = "gone" // without QUIT
	case 1:
		s.How = "drop"
		s.At = c.IntN(400)
	case 2:
		s.How = "last" // right after QUIT, without waiting for the answer
	}
	c.pause(&s)
	return s
}

func (c *chooser) together() Step {
	if c.IntN(5) == 0 {
		return c.storm()
	}
	s := Step{Do: "together"}
	for range 2 + c.IntN(4) {
		switch c.IntN(12) {
		case 0, 1:
			s.With = append(s.With, c.fetch())
		case 2:
			s.With = append(s.With, c.rename())
		case 3:
			s.With = append(s.With, c.submit())
		case 4:
			s.With = append(s.With, c.retention())
		default:
			s.With = append(s.With, c.send())
		}
	}
	return s
}

// storm is a mailbox that gets another name, or is removed, while much comes for it.
func (c *chooser) storm() Step {
	change := c.rename()
	if c.IntN(5) == 0 {
		change = Step{Do: "remove", Box: change.Box}
	}
	s := Step{Do: "together", With: []Step{change}}
	for range 2 + c.IntN(4) {
		letter := c.send()
		letter.To = append(letter.To, change.Box)
		if c.IntN(2) == 0 && !c.small {
			letter.Size = 66_000 + c.IntN(5000)
		}
		s.With = slices.Insert(s.With, c.IntN(len(s.With)+1), letter)
	}
	return s
}

func isStorm(s Step) bool {
	return slices.ContainsFunc(s.With, func(s Step) bool { return s.Do == "rename" || s.Do == "remove" })
}

func (c *chooser) rename() Step {
	i := c.IntN(len(boxNames))
	a, b := boxNames[i], otherNames[i]
	if c.IntN(2) == 0 {
		a, b = b, a
	}
	return Step{Do: "rename", Box: a, To: []string{b}}
}

func (c *chooser) remove() Step    { return Step{Do: "remove", Box: c.box()} }
func (c *chooser) add() Step       { return Step{Do: "add", Box: c.box()} }
func (c *chooser) retention() Step { return Step{Do: "retention", Box: c.box()} }
func (c *chooser) importing() Step { return Step{Do: "import", Box: one(c, importNames)} }
func (c *chooser) quota() Step {
	return Step{Do: "quota", Box: c.box(), Count: []int{0, 3, 8}[c.IntN(3)]}
}
func (c *chooser) reload() Step  { return Step{Do: "reload", Count: c.IntN(2)} }
func (c *chooser) look() Step    { return Step{Do: "look"} }
func (c *chooser) check() Step   { return Step{Do: "check"} }
func (c *chooser) restart() Step { return Step{Do: "restart"} }

func (c *chooser) remote() Step {
	return Step{Do: "remote", Count: 1 + c.IntN(4), How: one(c, []string{
		"refuse", "greeting-421", "rcpt-450", "rcpt-550", "data-451", "data-554", "drop-before-dot", "drop-at-dot", "drop-after-250",
	})}
}

func (c *chooser) orderQueue() Step {
	return Step{Do: "queue", How: one(c, []string{"retry", "flush", "hold", "release"})}
}

// mayCrash returns how the server may crash, "" if it may not.
func (c *chooser) mayCrash() string {
	kinds := slices.DeleteFunc(slices.Clone(c.faults), func(kind string) bool { return kind != "cut" && kind != "kill" })
	if len(kinds) == 0 {
		return ""
	}
	return one(c, kinds)
}

func (c *chooser) crash(kind string) Step {
	at := c.IntN(60) // operations; 0: at once
	return Step{Do: "fault", How: kind, Seed: c.Uint64() >> 32, At: at, Count: c.IntN(4)}
}

func (c *chooser) accident() Step {
	kind := one(c, c.faults)
	s := Step{Do: "fault", How: kind, Seed: c.Uint64() >> 32}
	switch kind {
	case "cut", "kill":
		return c.crash(kind)
	case "eio", "sync":
		s.At, s.Count = 1+c.IntN(40), []int{1, 1, 2, 5, 1000}[c.IntN(5)]
	case "enospc":
		s.Size = []int{0, 4096, 40_000, 150_000}[c.IntN(4)]
	case "emfile":
		s.Count = c.IntN(6)
	case "clock":
		s.Count = c.IntN(7) - 3                 // hours
		if c.jumped += s.Count; c.jumped > 30 { // or mail is given up
			s.Count, c.jumped = 0, c.jumped-s.Count
		}
	case "slow":
		s.Count = []int{0, 5, 300, 2500}[c.IntN(4)] // milliseconds
	case "log-short":
		s.At, s.Count = c.IntN(int(c.logSize)), c.IntN(2)
	case "log-header":
		s.At, s.Count, s.Size = c.IntN(36), c.IntN(2), c.IntN(3)
	}
	return s
}
