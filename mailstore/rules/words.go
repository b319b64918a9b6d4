package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// String tells the condition in words: "from contains shop", "not larger than 10 MB".
func (c Condition) String() string {
	not := ""
	if c.Not {
		not = "not "
	}
	switch c.What {
	case Over:
		return not + "larger than " + Octets(c.Size)
	case Under:
		return not + "smaller than " + Octets(c.Size)
	case Header:
		if c.Value == "" {
			return not + "field " + c.Name + " exists"
		}
		return fmt.Sprintf("%sfield %s contains %q", not, c.Name, c.Value)
	case From, To:
		if strings.Contains(c.Value, "@") {
			return fmt.Sprintf("%s%s %s", not, c.What, c.Value)
		}
	}
	return fmt.Sprintf("%s%s contains %q", not, c.What, c.Value)
}

// failure says in words that the condition does not hold.
func (c Condition) failure() string { return "its condition does not hold: " + c.String() }

// Words tells the rule in one line: "if from @shop.example: forward to bert@office.example".
func (r Rule) Words() string {
	conditions := make([]string, len(r.If))
	for i, c := range r.If {
		conditions[i] = c.String()
	}
	if len(conditions) == 0 {
		return "every message: " + r.DoWords()
	}
	return "if " + strings.Join(conditions, " and ") + ": " + r.DoWords()
}

// DoWords tells what the rule does.
func (r Rule) DoWords() string {
	switch r.Do {
	case Forward:
		all := make([]string, len(r.To))
		for i, a := range r.To {
			all[i] = a.String()
		}
		text := "forward to " + strings.Join(all, ", ")
		if r.KeepCopy {
			text += " and keep a copy"
		}
		return text
	case Refuse:
		return fmt.Sprintf("refuse with %q", r.Text)
	case Mark:
		var parts []string
		if r.Text != "" {
			parts = append(parts, fmt.Sprintf("the label %q", r.Text))
		}
		if r.Subject != "" {
			parts = append(parts, fmt.Sprintf("%q before the subject", r.Subject))
		}
		return "mark with " + strings.Join(parts, " and ")
	case Reply:
		return fmt.Sprintf("reply with %q", firstLine(r.Text))
	}
	return string(r.Do)
}

func firstLine(text string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line = strings.TrimSpace(line); rest != "" {
		line += " …"
	}
	return line
}

// Octets writes the size of a condition as it is typed: 10 MB, 500 KB, 1234 B.
func Octets(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1e9, " GB"}, {1e6, " MB"}, {1e3, " KB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}
