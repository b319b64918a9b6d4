package wirelog

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/dialogue"
)

// Fields are the fields of the SMTP service of IIS 6, in the order in which they are written.
var fieldNames = []string{
	"date", "time", "c-ip", "cs-username", "s-sitename", "s-computername", "s-ip", "s-port",
	"cs-method", "cs-uri-stem", "cs-uri-query", "sc-status", "sc-win32-status", "sc-bytes", "cs-bytes",
	"time-taken", "cs-version", "cs-host", "cs(User-Agent)", "cs(Cookie)", "cs(Referer)",
}

// FieldNames returns the fields of W3C, in the order in which they are written.
func FieldNames() []string { return slices.Clone(fieldNames) }

// RollOver is when a W3C log begins another file.
type RollOver string

// The times.
const (
	Hourly    RollOver = "hourly"
	Daily     RollOver = "daily"
	Weekly    RollOver = "weekly"
	Monthly   RollOver = "monthly"
	BySize    RollOver = "size"
	Unlimited RollOver = "unlimited"
)

// W3C is the form of a W3C log.
type W3C struct {
	Version  string // of the program
	Computer string // s-computername
	Site     string // s-sitename
	Fields   []string
	RollOver RollOver
	MaxSize  int64          // of a file; for BySize
	Zone     *time.Location // of the times at which a file is full; stamps are UTC
}

// Format returns how the files are named and begun. The names are those of IIS 6 (Q242898).
func (w W3C) Format() Format {
	f := Format{Header: w.header, Remark: remark, Ours: w3cFile.MatchString}
	switch w.RollOver {
	case BySize, Unlimited:
		f.Sized = func(n int) string { return "extend" + strconv.Itoa(n) + ".log" }
		if w.RollOver == BySize {
			f.MaxSize = w.MaxSize
		}
	default:
		f.Name = func(at time.Time) string { return periodName(w.RollOver, at.In(w.Zone)) }
	}
	return f
}

var w3cFile = regexp.MustCompile(`^(ex[0-9]{4,8}|extend[0-9]+)\.log$`)

// periodName is the name of the file for a time. A week begins on Sunday; its number is that of the
// week in the month.
func periodName(r RollOver, at time.Time) string {
	switch r {
	case Hourly:
		return at.Format("ex06010215.log")
	case Weekly:
		first := int(at.AddDate(0, 0, 1-at.Day()).Weekday())
		return fmt.Sprintf("%s%02d.log", at.Format("ex0601"), (at.Day()+first-1)/7+1)
	case Monthly:
		return at.Format("ex0601.log")
	}
	return at.Format("ex060102.log")
}

func (w W3C) header(at time.Time) string {
	return "#Software: Pillarbox " + w.Version + "\n#Version: 1.0\n#Date: " +
		at.UTC().Format(time.DateTime) + "\n#Fields: " + strings.Join(w.fields(), " ") + "\n"
}

// remark tells of missing lines. W3C calls such a directive a remark.
func remark(_ time.Time, n int64) string {
	return "#Remark: " + strconv.FormatInt(n, 10) + " lines are missing here\n"
}

// fields returns the chosen fields, in the order of IIS whatever the order of the choice.
func (w W3C) fields() []string {
	var all []string
	for _, name := range fieldNames {
		if slices.Contains(w.Fields, name) {
			all = append(all, name)
		}
	}
	return all
}

// Line returns the line for a command, with its line end.
func (w W3C) Line(c *dialogue.Command) string {
	var line strings.Builder
	for i, name := range w.fields() {
		if i > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(w.field(name, c))
	}
	line.WriteByte('\n')
	return line.String()
}

func (w W3C) field(name string, c *dialogue.Command) string {
	end := c.Begun.Add(c.Taken).UTC()
	switch name {
	case "date":
		return end.Format(time.DateOnly)
	case "time":
		return end.Format(time.TimeOnly)
	case "c-ip":
		return validText(c.Client.Remote.Addr().IsValid(), c.Client.Remote.Addr().String())
	case "cs-username":
		return w3cText(c.Name)
	case "s-sitename":
		return w3cText(w.Site)
	case "s-computername":
		return w3cText(w.Computer)
	case "s-ip":
		return validText(c.Client.Local.Addr().IsValid(), c.Client.Local.Addr().Unmap().String())
	case "s-port":
		return strconv.Itoa(int(c.Client.Local.Port()))
	case "cs-method":
		return w3cText(c.Verb)
	case "cs-uri-query":
		if c.Arg == "" {
			return "-"
		}
		return "+" + w3cText(c.Arg) // IIS keeps the blank after the verb
	case "sc-status":
		return strconv.Itoa(c.Status)
	case "sc-win32-status":
		return "0"
	case "sc-bytes":
		return strconv.FormatInt(c.Out, 10)
	case "cs-bytes":
		return strconv.FormatInt(c.In, 10)
	case "time-taken":
		return strconv.FormatInt(c.Taken.Milliseconds(), 10)
	case "cs-version":
		return protocolOf(c.Client.Service)
	}
	return "-"
}

func validText(valid bool, text string) string {
	if !valid {
		return "-"
	}
	return text
}

// w3cText writes a text as one word: "+" for a blank, "?" for what cannot be printed.
func w3cText(text string) string {
	if text == "" {
		return "-"
	}
	return strings.ReplaceAll(shorten(printable(text, '?')), " ", "+")
}

// isPOP3 reports whether a key under [listen] is a POP3 service.
func isPOP3(service string) bool { return service == "pop3" || service == "pop3s" }

func protocolOf(service string) string {
	if isPOP3(service) {
		return "POP3"
	}
	return "SMTP"
}
