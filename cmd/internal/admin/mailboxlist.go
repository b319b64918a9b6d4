package admin

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// This file reads a list of mailboxes as a spreadsheet saves it. It does no I/O.

// listedMailbox is a line of the list. Cells are without blanks around them.
type listedMailbox struct {
	line                           int
	address, name, password, quota string
	groups, aliases, forward       []string
}

// LineMistake is a mistake in a line of a list.
type LineMistake struct {
	Line int    `json:"line"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

func mistakeAt(line int, err error) LineMistake {
	m := LineMistake{Line: line, Text: err.Error()}
	if h, ok := errors.AsType[*HintError](err); ok {
		m.Hint = h.Hint
	}
	return m
}

// MaxMailboxList is the number of octets of a list.
const MaxMailboxList = 1 << 20

func errLongList() error {
	return Hint(usage(fmt.Errorf("the list has more than %d octets", MaxMailboxList)),
		"split it into several files")
}

// listColumns are the names of the columns. columnOf knows others that people write.
func listColumns() []string {
	return []string{"address", "name", "password", "quota", "groups", "aliases", "forward"}
}

func columnOf(head string) string {
	head = strings.ToLower(strings.TrimSpace(head))
	other := map[string]string{
		"mail": "address", "email": "address", "e-mail": "address", "adresse": "address",
		"passwort": "password", "group": "groups", "gruppe": "groups", "gruppen": "groups",
		"alias": "aliases", "aliase": "aliases", "weiterleitung": "forward",
	}
	if column, ok := other[head]; ok {
		return column
	}
	return head
}

// readMailboxList reads a list: a header line with the names of the columns, then a line for each
// mailbox. Commas, semicolons or tabs part the cells, as the header line has them. The mistakes are
// those of all lines; err is one that leaves no line to read.
func readMailboxList(text string) (rows []listedMailbox, mistakes []LineMistake, err error) {
	if len(text) > MaxMailboxList {
		return nil, nil, errLongList()
	}
	r, skipped := listReader(text)
	columns, mistakes, err := readColumns(r, skipped)
	if err != nil {
		return nil, nil, err
	}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if bad, ok := errors.AsType[*csv.ParseError](err); ok {
			m := mistakeAt(bad.Line+skipped, Hint(bad.Err, "write a cell with quotes as \"a \"\"b\"\" c\""))
			return rows, append(mistakes, m), nil // where the next line begins is not known
		} else if err != nil {
			return nil, nil, err
		}
		line, _ := r.FieldPos(0)
		row := listedMailbox{line: line + skipped}
		if strings.TrimSpace(strings.Join(cells, "")) == "" {
			continue // a spreadsheet has such lines at its end
		}
		if len(cells) > len(columns) {
			mistakes = append(mistakes, LineMistake{Line: row.line,
				Text: fmt.Sprintf("%d cells, but the header line has %d", len(cells), len(columns)),
				Hint: "put quotes around a cell that has the separator in it"})
			continue
		}
		for i, cell := range cells {
			row.set(columns[i], strings.TrimSpace(cell))
		}
		if row.address == "" {
			mistakes = append(mistakes, LineMistake{Line: row.line, Text: "the address is empty"})
			continue
		}
		rows = append(rows, row)
	}
	return rows, mistakes, nil
}

// DecodeList returns the text of a list, which is UTF-8, with or without a byte order mark, or
// Windows-1252.
func DecodeList(text []byte) (string, error) {
	switch {
	case len(text) > MaxMailboxList:
		return "", errLongList()
	case bytes.HasPrefix(text, []byte{0xFF, 0xFE}), bytes.HasPrefix(text, []byte{0xFE, 0xFF}),
		bytes.IndexByte(text, 0) >= 0:
		return "", Hint(usage(errors.New("the list is in UTF-16, or no text at all")),
			"save it from the spreadsheet as CSV UTF-8")
	case !utf8.Valid(text):
		decoded, err := charmap.Windows1252.NewDecoder().Bytes(text)
		return string(decoded), err
	}
	return strings.TrimPrefix(string(text), "\uFEFF"), nil
}

// listReader returns a reader for the separator that the header line has, and the number of lines
// that it does not see: Excel can name the separator in a line "sep=;" of its own.
func listReader(text string) (r *csv.Reader, skipped int) {
	head, rest, _ := strings.Cut(text, "\n")
	if strings.HasPrefix(strings.ToLower(head), "sep=") {
		text, skipped = rest, 1
		head, _, _ = strings.Cut(text, "\n")
	}
	r = csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	for _, separator := range ";\t" {
		if strings.Count(head, string(separator)) > strings.Count(head, string(r.Comma)) {
			r.Comma = separator
		}
	}
	return r, skipped
}

// readColumns reads the header line.
func readColumns(r *csv.Reader, skipped int) (columns []string, mistakes []LineMistake, err error) {
	known := listColumns()
	hint := "the columns are " + strings.Join(known, ", ") + "; address must be there"
	heads, err := r.Read()
	if err != nil {
		return nil, nil, Hint(usage(errors.New("the list has no header line")), "%s", hint)
	}
	seen := make(map[string]bool)
	for _, head := range heads {
		column := columnOf(head)
		switch {
		case !slices.Contains(known, column):
			mistakes = append(mistakes, LineMistake{1 + skipped, fmt.Sprintf("unknown column %q", head), hint})
		case seen[column]:
			mistakes = append(mistakes, LineMistake{Line: 1 + skipped,
				Text: fmt.Sprintf("the column %s is there twice", column)})
		}
		seen[column] = true
		columns = append(columns, column)
	}
	if !seen["address"] {
		return nil, nil, Hint(usage(errors.New("the list has no column address")), "%s", hint)
	}
	return columns, mistakes, nil
}

// set sets the cell of a column. A cell of several names has blanks, commas or semicolons between them.
func (m *listedMailbox) set(column, cell string) {
	names := strings.FieldsFunc(cell, func(c rune) bool { return strings.ContainsRune(" ,;\r\n\t", c) })
	switch column {
	case "address":
		m.address = cell
	case "name":
		m.name = cell
	case "password":
		m.password = cell
	case "quota":
		m.quota = cell
	case "groups":
		m.groups = names
	case "aliases":
		m.aliases = names
	case "forward":
		m.forward = names
	}
}
