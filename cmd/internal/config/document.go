package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// value is the value of one key in the file.
type value struct {
	line  int
	kind  kind  // how it is written; a key can have textKind, listKind, numberKind or boolKind
	v     any   // string, []string, int64 or bool, nil for every other kind
	items []int // the line of each item of a list
}

// sectionKind is a value that is a section in braces: { … } after the key.
const sectionKind kind = "a section"

// document is a parsed TOML file with the line of every value. The parser continues
// after each syntax error, so that one report has them all.
type document struct {
	file     string
	names    schema
	values   map[string]value
	entries  map[string][]int // the line of each entry of a table
	problems Errors

	data     []byte
	parser   unstable.Parser
	base     int // offset of the parser's input in data
	table    string
	skip     bool // below an unknown section, which has been reported
	sections map[string]opened
}

// opened is the line at which a section begins, and its form.
type opened struct {
	line int
	how  opening
}

// opening is the form of the begin of a section.
type opening int

const (
	byHeader opening = iota // [section]
	byDot                   // section.key = …, the only form that may be repeated
	byBrace                 // section = { … }, complete with its closing brace
)

// readDocument reads the text of a file. Keys that names does not know are
// problems and are not among the values.
func readDocument(file string, data []byte, names schema) *document {
	d := &document{
		file:     file,
		names:    names,
		data:     data,
		values:   map[string]value{},
		entries:  map[string][]int{},
		sections: map[string]opened{},
	}
	for d.base < len(data) {
		d.parser.Reset(data[d.base:])
		for d.parser.NextExpression() {
			d.expression(d.parser.Expression())
		}
		err := d.parser.Error()
		if err == nil {
			break
		}
		d.base = d.nextStatement(d.syntaxError(err))
	}
	return d
}

// statement matches the start of a line that must be a key or a section, never the
// rest of a list or of a string.
var statement = regexp.MustCompile(`(?m)^[ \t]*(?:[A-Za-z][A-Za-z0-9_.-]*[ \t]*=|\[\[?[A-Za-z])`)

// nextStatement returns the offset of the first statement on a later line than
// the given offset.
func (d *document) nextStatement(offset int) int {
	eol := bytes.IndexByte(d.data[offset:], '\n')
	if eol < 0 {
		return len(d.data)
	}
	offset += eol + 1
	found := statement.FindIndex(d.data[offset:])
	if found == nil {
		return len(d.data)
	}
	return offset + found[0]
}

// syntaxError reports err and returns its offset in the file.
func (d *document) syntaxError(err error) int {
	offset, what := len(d.data)-1, err.Error()
	if perr, ok := errors.AsType[*unstable.ParserError](err); ok {
		offset = d.base + int(d.parser.Range(perr.Highlight).Offset)
		what = perr.Message
	}
	hint := `write key = "text", key = 10 or key = ["one", "two"]`
	line := bytes.TrimLeft(d.data[bytes.LastIndexByte(d.data[:offset], '\n')+1:], " \t")
	if bytes.HasPrefix(line, []byte("[")) {
		d.table, d.skip = "", true // the section of the next keys is unknown
		hint = "write [section]"
		if bytes.HasPrefix(line, []byte("[[")) {
			hint = "write [[section]]"
		}
	}
	d.problem(d.lineAt(offset), d.keyIn(line), "not TOML: "+what, hint)
	return offset
}

// keyIn returns the key that a line seems to set, or "".
func (d *document) keyIn(line []byte) string {
	found := assignment.FindSubmatch(line)
	switch {
	case found == nil || d.skip:
		return ""
	case d.table == "":
		return string(found[1])
	}
	return d.table + "." + string(found[1])
}

var assignment = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_.-]*)[ \t]*=`)

func (d *document) problem(line int, key, what, hint string) {
	d.problems = append(d.problems, Problem{File: d.file, Line: line, Key: key, What: what, Hint: hint})
}

func (d *document) lineAt(offset int) int {
	return 1 + bytes.Count(d.data[:offset], []byte("\n"))
}

func (d *document) line(n *unstable.Node) int {
	return d.lineAt(d.base + int(n.Raw.Offset))
}

func (d *document) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		d.header(n)
	case unstable.KeyValue:
		d.keyValue(d.table, n)
	}
}

// path returns the dotted name of a key or header node, and its line. It quotes a
// part that is not a bare key, so that the name never equals a known one.
func (d *document) path(n *unstable.Node) (name string, line int) {
	var parts []string
	for it := n.Key(); it.Next(); {
		if line == 0 {
			line = d.line(it.Node())
		}
		part := string(it.Node().Data)
		if !bareKey.MatchString(part) {
			part = quote(part)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "."), line
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (d *document) header(n *unstable.Node) {
	name, line := d.path(n)
	if slices.Contains(d.names.tables, name) {
		d.entry(name, line, n.Kind)
		return
	}
	d.table, d.skip = name, !d.names.isSection(name)
	switch {
	case d.names.isKey(name):
		d.problem(line, name, "is a key, not a section", "write "+leaf(name)+" = … instead")
	case d.skip:
		d.problem(line, name, "unknown section", d.names.suggestSection(name))
	case n.Kind == unstable.ArrayTable:
		d.problem(line, name, "is not a list of sections", "write ["+name+"] with single brackets, once")
	}
	for outer := range sectionsOf(name) {
		if before, ok := d.sections[outer]; ok && before.how == byBrace {
			d.problem(line, name, "adds to a section in braces", fmt.Sprintf("write it within those on line %d", before.line))
		}
	}
	d.open(name, line, byHeader)
}

// entry begins an entry of a table.
func (d *document) entry(name string, line int, kind unstable.Kind) {
	if kind != unstable.ArrayTable {
		d.problem(line, name, "is a list of sections", "write [["+name+"]] with double brackets, once for each")
	}
	d.entries[name] = append(d.entries[name], line)
	d.table, d.skip = entry(name, len(d.entries[name])-1), false
}

// open records that a section begins, and reports one that has begun before.
func (d *document) open(name string, line int, how opening) {
	before, ok := d.sections[name]
	if ok && !(how == byDot && before.how == byDot) {
		d.problem(line, name, "duplicate section", fmt.Sprintf("keep one; the other is on line %d", before.line))
		return
	}
	d.sections[name] = opened{line, how}
}

func (d *document) keyValue(table string, n *unstable.Node) {
	name, line := d.path(n)
	if table != "" {
		name = table + "." + name
	}
	if d.skip {
		return
	}
	for outer := range sectionsOf(name) {
		if len(outer) > len(table) && d.names.isSection(outer) {
			d.open(outer, line, byDot)
		}
	}
	v := n.Value()
	switch {
	case d.names.isTable(name):
		table, _, _ := strings.Cut(name, ".")
		d.problem(line, name, "is not how a list of sections is written", "write [["+table+"]] and its keys below, once for each")
	case v.Kind == unstable.InlineTable && d.names.isSection(name):
		d.open(name, line, byBrace)
		for it := v.Children(); it.Next(); {
			d.keyValue(name, it.Node())
		}
	case d.names.isSection(name):
		d.problem(line, name, "is a section, not a key", "write ["+name+"] and its keys below")
	case !d.names.isKey(name):
		d.problem(line, name, "unknown key", d.names.suggestKey(name))
	default:
		d.add(name, line, v)
	}
}

func (d *document) add(name string, line int, n *unstable.Node) {
	if before, ok := d.values[name]; ok {
		d.problem(line, name, "duplicate key", fmt.Sprintf("keep one; the other is on line %d", before.line))
		return
	}
	v, err := d.value(n)
	v.line = line
	if err != nil {
		d.problem(line, name, err.Error(), "write a smaller one")
	}
	d.values[name] = v
}

func (d *document) value(n *unstable.Node) (value, error) {
	switch n.Kind {
	case unstable.String:
		return value{kind: textKind, v: string(n.Data)}, nil
	case unstable.Integer:
		i, err := parseInteger(string(n.Data))
		if err != nil {
			return value{kind: numberKind}, fmt.Errorf("the number %s is too large", n.Data)
		}
		return value{kind: numberKind, v: i}, nil
	case unstable.Array:
		return d.list(n), nil
	case unstable.Bool:
		return value{kind: boolKind, v: string(n.Data) == "true"}, nil
	case unstable.Float:
		return value{kind: "a number with a fraction"}, nil
	case unstable.InlineTable:
		return value{kind: sectionKind}, nil
	}
	return value{kind: "a date or a time"}, nil
}

func (d *document) list(n *unstable.Node) value {
	v := value{kind: listKind}
	items := []string{}
	for it := n.Children(); it.Next(); {
		item := it.Node()
		if item.Kind != unstable.String {
			return value{kind: "a list of something else"}
		}
		items = append(items, string(item.Data))
		v.items = append(v.items, d.line(item))
	}
	v.v = items
	return v
}

// parseInteger parses a TOML integer, whose form the parser has checked.
func parseInteger(s string) (int64, error) {
	s = strings.ReplaceAll(s, "_", "")
	if len(s) > 1 && s[0] == '0' {
		return strconv.ParseInt(s, 0, 64)
	}
	return strconv.ParseInt(s, 10, 64)
}
