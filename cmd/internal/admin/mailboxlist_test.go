package admin

import (
	"fmt"
	"strings"
	"testing"
)

func TestReadMailboxList(t *testing.T) {
	for _, test := range []struct {
		name, list string
		want       string // rows, then mistakes
		fails      string
	}{
		{"commas", "address,name,quota\nanna@a.example,Anna Lee,1GB\n", `2 anna@a.example "Anna Lee" 1GB [] [] []`, ""},
		{"semicolons of Excel", "Adresse;Passwort;Gruppen;Aliase;Weiterleitung\r\nanna;geheim;\"staff, all\";info;x@b.example y@b.example\r\n",
			`2 anna "" geheim [staff all] [info] [x@b.example y@b.example]`, ""},
		{"tabs", "address\tname\nanna\tAnna, Lee\n", `2 anna "Anna, Lee" [] [] []`, ""},
		{"any order, empty cells, empty lines", "quota;name;ADDRESS\n;;\n\n1GB;;anna\n;;\n", `4 anna "" 1GB [] [] []`, ""},
		{"separator named", "sep=;\naddress;name\nanna;A,B\n", `3 anna "A,B" [] [] []`, ""},
		{"short lines", "address,name\nanna\n", `2 anna "" [] [] []`, ""},
		{"quotes over lines", "address,name\n\"anna\",\"A \"\"B\"\"\"\nboss,\"x\ny\"\neve,\n",
			`2 anna "A \"B\"" [] [] []; 3 boss "x\ny" [] [] []; 5 eve "" [] [] []`, ""},
		{"mistakes", "address,colour,address\nanna,red,x,y\n,blue\n",
			`1: unknown column "colour"; 1: the column address is there twice; ` +
				`2: 4 cells, but the header line has 3; 3: the address is empty`, ""},
		{"a quote too many", "address,name\nanna,A\nboss,x\"y\neve,E\n", `2 anna "A" [] [] []; 3: bare " in non-quoted-field`, ""},
		{"only a header", "address\n", "", ""},
		{"nothing", "", "", "the list has no header line"},
		{"no address", "name,quota\nanna,1GB\n", "", "the list has no column address"},
		{"too long", "address\n" + strings.Repeat("x", MaxMailboxList), "", "octets"},
	} {
		rows, mistakes, err := readMailboxList(test.list)
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%s: %v, want %s", test.name, err, test.fails)
			}
			continue
		}
		var got []string
		for _, r := range rows {
			words := []string{fmt.Sprint(r.line), r.address, fmt.Sprintf("%q", r.name)}
			for _, cell := range []string{r.password, r.quota} {
				if cell != "" {
					words = append(words, cell)
				}
			}
			got = append(got, strings.Join(append(words, fmt.Sprint(r.groups), fmt.Sprint(r.aliases), fmt.Sprint(r.forward)), " "))
		}
		for _, m := range mistakes {
			got = append(got, fmt.Sprintf("%d: %s", m.Line, m.Text))
		}
		if text := strings.Join(got, "; "); err != nil || text != test.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", test.name, err, text, test.want)
		}
	}
}

func TestDecodeList(t *testing.T) {
	for text, want := range map[string]string{
		"address\njürgen": "address\njürgen", "\uFEFFaddress": "address", "J\xfcrgen \x80": "Jürgen €", "": "",
	} {
		if got, err := DecodeList([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"\xff\xfea\x00", "\xfe\xff\x00a", "a\x00b", strings.Repeat("a", MaxMailboxList+1)} {
		if _, err := DecodeList([]byte(text)); err == nil {
			t.Errorf("%.20q is a list", text)
		}
	}
}

func FuzzMailboxList(f *testing.F) {
	f.Add("address;name\nanna;\"A\"\n")
	f.Add("sep=\t\naddress\n\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		rows, _, err := readMailboxList(text)
		for _, r := range rows {
			if err != nil || r.address == "" || r.line < 2 || r.line > strings.Count(text, "\n")+1 {
				t.Errorf("line %d: %q %v", r.line, r.address, err)
			}
		}
	})
}
