package rules

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/head"
)

var update = flag.Bool("update", false, "write the golden file")

func address(s string) addr.Address {
	a, err := addr.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

func message(sender, header string, size int64) *Message {
	m := &Message{To: address("anna@office.example"), Head: head.Parse([]byte(header)), Size: size}
	if sender != "" {
		m.Sender = address(sender)
	}
	return m
}

const newsletter = "From: \"The Shop\" <News@Shop.example>\r\nTo: Anna <anna@office.example>\r\n" +
	"Cc: bert@office.example\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from the shop\r\n" +
	"List-Id: <offers.shop.example>\r\n\r\n"

func TestConditions(t *testing.T) {
	m := message("bounce-7@mail.shop.example", newsletter, 2000)
	for _, c := range []struct {
		Condition
		want bool
	}{
		{Condition{What: From, Value: "news@shop.example"}, true},
		{Condition{What: From, Value: "@shop.example"}, true},
		{Condition{What: From, Value: "@mail.shop.example"}, true}, // the envelope
		{Condition{What: From, Value: "@op.example"}, false},
		{Condition{What: From, Value: "ews@shop.example"}, false},
		{Condition{What: From, Value: "the shop"}, true},
		{Condition{What: From, Value: "BOUNCE"}, true},
		{Condition{What: From, Value: "anna"}, false},
		{Condition{What: To, Value: "anna@office.example"}, true},
		{Condition{What: To, Value: "bert@office.example"}, true},
		{Condition{What: To, Value: "carl@office.example"}, false},
		{Condition{What: Subject, Value: "grüße FROM"}, true},
		{Condition{What: Subject, Value: "=C3"}, false},
		{Condition{What: Header, Name: "List-ID"}, true},
		{Condition{What: Header, Name: "List-ID", Value: "OFFERS"}, true},
		{Condition{What: Header, Name: "List-Post"}, false},
		{Condition{What: Over, Size: 1999}, true},
		{Condition{What: Over, Size: 2000}, false},
		{Condition{What: Under, Size: 2001}, true},
		{Condition{What: Under, Size: 2000}, false},
	} {
		if err := c.check(); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		for _, not := range []bool{false, true} {
			c.Not = not
			r := Rule{Do: Keep, If: []Condition{c.Condition}}
			if _, got := r.applies(m); got != (c.want != not) {
				t.Errorf("%s: got %v", c, got)
			}
		}
	}
}

func TestNullSender(t *testing.T) {
	m := message("", "From: mailer-daemon@far.example\r\n\r\n", 100)
	if matches("@", m.Head, m.Sender, "to") || !matches("@far.example", m.Head, m.Sender, "from") {
		t.Error("the null sender has a domain")
	}
}

// lists are the lists of the golden file.
func lists() map[string][]Rule {
	from := func(v string) []Condition { return []Condition{{What: From, Value: v}} }
	return map[string][]Rule{
		"none":              nil,
		"no match":          {{If: from("@bank.example"), Do: Discard}},
		"discard":           {{If: from("@shop.example"), Do: Discard}, {Do: Refuse, Text: "no"}},
		"keep ends":         {{If: from("@shop.example"), Do: Keep}, {Do: Discard}},
		"refuse":            {{Do: Refuse, Text: "No advertising, please"}},
		"forward":           {{Do: Forward, To: []addr.Address{address("bert@office.example")}}},
		"forward with copy": {{Do: Forward, To: []addr.Address{address("x@far.example")}, KeepCopy: true}},
		"mark goes on": {
			{Do: Mark, Text: "shop"}, {Do: Mark, Subject: "[ad]"}, {Do: Reply, Text: "Thank you"},
			{If: from("@shop.example"), Do: Keep}, {Do: Discard},
		},
		"all conditions": {{
			If: []Condition{{What: From, Value: "@shop.example"}, {What: Over, Size: 1 << 20}}, Do: Discard,
		}},
		"unknown act":       {{Do: "explode"}, {Do: Mark, Text: "x"}},
		"unknown condition": {{If: []Condition{{What: "moon", Not: true}}, Do: Discard}},
	}
}

func TestDecideGolden(t *testing.T) {
	const name = "testdata/decide.golden"
	m := message("bounce-7@mail.shop.example", newsletter, 2000)
	var b strings.Builder
	for _, name := range sortedNames(lists()) {
		list := lists()[name]
		fmt.Fprintf(&b, "# %s\n", name)
		for i, r := range list {
			fmt.Fprintf(&b, "%d. %s\n", i+1, r.Words())
		}
		out := Decide(list, m)
		for _, s := range out.Steps {
			fmt.Fprintf(&b, "  %s\n", s)
		}
		fmt.Fprintf(&b, "  -> %s by rule %d, to %v, copy %v, text %q, labels %v, answers %v\n\n",
			out.Act, out.Rule, out.To, out.KeepCopy, out.Text, out.Labels, out.Answers)
	}
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the decisions differ from %s:\n%s", name, b.String())
	}
}

func sortedNames(m map[string][]Rule) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	for i := range all { // few names
		for j := i + 1; j < len(all); j++ {
			if all[j] < all[i] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return all
}

func TestCheck(t *testing.T) {
	good := []Rule{
		{Do: Keep},
		{Do: Discard, If: []Condition{{What: Header, Name: "X-Spam", Value: "yes"}}},
		{Do: Refuse, Text: "No"},
		{Do: Mark, Text: "shop"},
		{Do: Mark, Subject: "[größer]"},
		{Do: Reply, Text: "Grüße\r\n\tAnna"},
		{Do: Forward, To: []addr.Address{address("x@far.example")}, KeepCopy: true},
	}
	if err := CheckList(good); err != nil {
		t.Error(err)
	}
	for what, r := range map[string]Rule{
		"no act":             {},
		"unknown act":        {Do: "explode"},
		"forward to nowhere": {Do: Forward},
		"forward to many":    {Do: Forward, To: make([]addr.Address, MaxTargets+1)},
		"keep with target":   {Do: Keep, To: []addr.Address{address("x@far.example")}},
		"refuse silently":    {Do: Refuse},
		"refuse in German":   {Do: Refuse, Text: "Unerwünscht"},
		"refuse in lines":    {Do: Refuse, Text: "a\r\nb"},
		"mark with nothing":  {Do: Mark},
		"mark with a line":   {Do: Mark, Text: "x\nX-Forged: y"},
		"label in German":    {Do: Mark, Text: "größer"},
		"empty reply":        {Do: Reply, Text: " \n"},
		"long reply":         {Do: Reply, Text: strings.Repeat("x", maxText+1)},
		"discard with text":  {Do: Discard, Text: "x"},
		"empty condition":    {Do: Keep, If: []Condition{{What: From}}},
		"unknown condition":  {Do: Keep, If: []Condition{{What: "moon", Value: "x"}}},
		"field without name": {Do: Keep, If: []Condition{{What: Header, Value: "x"}}},
		"field with colon":   {Do: Keep, If: []Condition{{What: Header, Name: "X:Y"}}},
		"size of nothing":    {Do: Keep, If: []Condition{{What: Over}}},
		"many conditions":    {Do: Keep, If: make([]Condition, MaxConditions+1)},
	} {
		if err := r.Check(); !errors.Is(err, ErrRule) {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	if err := CheckList(make([]Rule, MaxRules+1)); !errors.Is(err, ErrRule) {
		t.Errorf("a long list: the error is %v", err)
	}
}

// TestJSON: a list that was written is read as it was.
func TestJSON(t *testing.T) {
	for name, list := range lists() {
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var got []Rule
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, list) {
			t.Errorf("%s: %s became %v, %v", name, text, got, err)
		}
	}
}

func TestDecideLinear(t *testing.T) {
	list := lists()["mark goes on"]
	for _, what := range []What{From, To, Subject} {
		list = append([]Rule{
			{If: []Condition{{What: what, Value: "no such text"}}, Do: Keep},
			{If: []Condition{{What: what, Value: "no@such.example"}}, Do: Keep},
		}, list...)
	}
	mailtest.Linear(t, func(text string) {
		Decide(list, message("x@far.example", text, int64(len(text))))
	}, mailtest.Headers("From", "To", "Subject")...)
}
