package config

import (
	"bytes"
	"strings"
)

// SetText returns the text of a configuration file with a new value for a key. value is written as
// in TOML. Comments, order and all other lines stay. A key that is not in the file is written after
// its line in the sample that setup writes, "# key = …", or at the beginning of its section; a
// missing section is added at the end. Parse checks the result: a file that defines its sections in
// other ways than by headers may not take the key.
func SetText(text []byte, key, value string) []byte {
	e := editor{section: section(key), leaf: leaf(key), end: "\n"}
	if bytes.Contains(text, []byte("\r\n")) {
		e.end = "\r\n"
	}
	if start, end, ok := e.find(text); ok {
		return splice(text, start, end, value)
	}
	line := e.leaf + " = " + value + e.end
	switch {
	case e.place > 0:
		return splice(text, e.place, e.place, line)
	case e.section == "":
		return splice(text, e.top, e.top, line)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(bytes.Clone(text), e.end...)
	}
	return splice(text, len(text), len(text), e.end+"["+e.section+"]"+e.end+line)
}

func splice(text []byte, start, end int, with string) []byte {
	return append(append(append([]byte{}, text[:start]...), with...), text[end:]...)
}

// editor looks for the place of a key in a file.
type editor struct {
	section, leaf string
	end           string // of a line

	place int // where the section has room for the key; 0: nowhere
	top   int // where the keys without a section end
}

// find returns the place of the key's value. If the file has no such key, it sets the places for a
// new line.
func (e *editor) find(text []byte) (start, end int, ok bool) {
	table, comment, sample := "", -1, false
	for at := 0; at < len(text); {
		next := lineAfter(text, at)
		line := strings.TrimSpace(string(bytes.TrimPrefix(text[at:next], []byte("\xef\xbb\xbf"))))
		first := comment
		comment = -1
		switch {
		case strings.HasPrefix(line, "#"):
			if comment = first; comment < 0 {
				comment = at
			}
			if name, _, ok := strings.Cut(strings.TrimLeft(line, "# "), "="); ok && table == e.section && !sample && strings.TrimSpace(name) == e.leaf {
				e.place, sample = next, true
			}
		case strings.HasPrefix(line, "["):
			if first < 0 {
				first = at
			}
			if table == "" && e.top == 0 {
				e.top = first
			}
			if table = tableName(line); table == e.section && e.place == 0 {
				e.place = next
			}
		case line != "":
			name, _, ok := strings.Cut(line, "=")
			if !ok {
				break // a mistake, which Parse reports
			}
			start := at + bytes.IndexByte(text[at:next], '=') + 1
			start += len(text[start:]) - len(bytes.TrimLeft(text[start:], " \t"))
			end := valueEnd(text, start)
			if plainName(table, name) == plainName(e.section, e.leaf) {
				return start, end, true
			}
			next = lineAfter(text, end)
			if table == "" {
				e.top = next
			}
		}
		at = next
	}
	if table == "" {
		e.top = len(text)
	}
	return 0, 0, false
}

// lineAfter returns where the line after the one at a place begins.
func lineAfter(text []byte, at int) int {
	if end := bytes.IndexByte(text[at:], '\n'); end >= 0 {
		return at + end + 1
	}
	return len(text)
}

// tableName returns the name in a header, or one that no section has for an entry of a table.
func tableName(line string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(line, "["), "]")
	if strings.HasPrefix(name, "[") {
		return "[[]]"
	}
	return plainName("", name)
}

// plainName returns a dotted name without blanks and quotes.
func plainName(table, name string) string {
	name = strings.NewReplacer(" ", "", "\t", "", `"`, "", "'", "").Replace(name)
	if table == "" {
		return name
	}
	return table + "." + name
}

// valueEnd returns where the value that begins at a place ends. It may have several lines.
func valueEnd(text []byte, at int) int {
	depth, end := 0, at
	for at < len(text) {
		c := text[at]
		switch {
		case c == '#':
			if depth == 0 {
				return end
			}
			at = lineAfter(text, at)
			continue
		case c == '\n' && depth == 0:
			return end
		case c == '"' || c == '\'':
			at = stringEnd(text, at)
			end = at
			continue
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
		at++
		if c != ' ' && c != '\t' && c != '\r' {
			end = at
		}
	}
	return end
}

// stringEnd returns where the string that begins at a place ends.
func stringEnd(text []byte, at int) int {
	quote := text[at : at+1]
	if long := bytes.Repeat(quote, 3); bytes.HasPrefix(text[at:], long) {
		quote = long
	}
	for at += len(quote); at < len(text); at++ {
		switch {
		case text[at] == '\\' && quote[0] == '"':
			at++
		case bytes.HasPrefix(text[at:], quote):
			return at + len(quote)
		case len(quote) == 1 && text[at] == '\n':
			return at // a mistake, which Parse reports
		}
	}
	return len(text)
}
