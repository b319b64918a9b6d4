package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseWinpop(t *testing.T) {
	for line, want := range map[string]winpopCall{
		"add office.example":                         {verb: "add", target: "office.example"},
		"ADD Office.Example":                         {verb: "add", target: "Office.Example"},
		"add a@b.example":                            {verb: "add", target: "a@b.example"},
		"add a@b.example /createuser secret":         {verb: "add", target: "a@b.example", password: "secret"},
		"Add /CREATEUSER secret a@b.example":         {verb: "add", target: "a@b.example", password: "secret"},
		"add a@b.example /createuser /createuser":    {verb: "add", target: "a@b.example", password: "/createuser"},
		"add a@b.example /createuser --config":       {verb: "add", target: "a@b.example", password: "--config"},
		"delete a@b.example":                         {verb: "delete", target: "a@b.example"},
		"del a@b.example /deleteuser":                {verb: "delete", target: "a@b.example"},
		"delete /DeleteUser a@b.example":             {verb: "delete", target: "a@b.example"},
		"del b.example":                              {verb: "delete", target: "b.example"},
		"list":                                       {verb: "list"},
		"list b.example":                             {verb: "list", target: "b.example"},
		"stat":                                       {verb: "stat"},
		"lock a@b.example":                           {verb: "lock", target: "a@b.example"},
		"UNLOCK b.example":                           {verb: "unlock", target: "b.example"},
		"changepwd a@b.example -h":                   {verb: "changepwd", target: "a@b.example", password: "-h"},
		"changepwd a@b.example /user:x":              {verb: "changepwd", target: "a@b.example", password: "/user:x"},
		"createquotafile a@b.example":                {verb: "createquotafile", target: "a@b.example"},
		"createquotafile a@b.example /size:1GB":      {verb: "createquotafile", target: "a@b.example", size: "1GB"},
		`CreateQuotaFile a@b.example /User:OFFICE\a`: {verb: "createquotafile", target: "a@b.example", user: `OFFICE\a`},
		"migrateToAD a@b.example":                    {verb: "migratetoad", target: "a@b.example"},
		"get Logging":                                {verb: "get", target: "logging"},
		"set socket 10 20 30 40":                     {verb: "set", target: "socket", values: []string{"10", "20", "30", "40"}},
		"set port 110":                               {verb: "set", target: "port", values: []string{"110"}},
		"help":                                       {verb: "help"},
		"/?":                                         {verb: "help"},
		"-h":                                         {verb: "help"},
		"--help":                                     {verb: "help"},
	} {
		if got, err := parseWinpop(strings.Fields(line)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("winpop %s: %+v, %v; want %+v", line, got, err, want)
		}
	}
}

func TestParseWinpopMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"":                                  "a command is missing",
		"remove a@b.example":                `"remove" is not a command`,
		"add":                               "add: an argument is missing",
		"add b.example c.example":           `add: "c.example" is one argument too many`,
		"add a@b.example /createuser":       "add: /createuser lacks the password",
		"add b.example /createuser secret":  `add: /createuser is for User@Domain, and "b.example" is a domain`,
		"add a@b.example /deleteuser":       `add: "/deleteuser" is one argument too many`,
		"add /deleteuser":                   `add: "/deleteuser" is not an option of it`,
		"delete":                            "delete: an argument is missing",
		"del a@b.example x":                 `delete: "x" is one argument too many`,
		"delete a@b.example /user:x":        `delete: "/user:x" is one argument too many`,
		"list b.example c.example":          `list: "c.example" is one argument too many`,
		"list /all":                         `list: "/all" is not an option of it`,
		"stat --json":                       `stat: "--json" is not an option of it`,
		"lock":                              "lock: an argument is missing",
		"changepwd a@b.example":             "changepwd: it takes User@Domain and the new password",
		"changepwd a@b.example my secret":   "changepwd: too many arguments; a password with blanks belongs in quotes",
		"changepwd b.example secret":        `changepwd: "b.example" is not User@Domain`,
		"createquotafile b.example /user:x": `createquotafile: "b.example" is not User@Domain`,
		"createquotafile a@b.example /x":    `createquotafile: "/x" is one argument too many`,
		"migrateToAD b.example":             `migratetoad: "b.example" is not User@Domain`,
		"get":                               "get: it takes a property",
		"set port":                          "set: it takes a property and its value",
	} {
		if got, err := parseWinpop(strings.Fields(line)); err == nil || err.Error() != want {
			t.Errorf("winpop %s: %+v, %v; want %s", line, got, err, want)
		}
	}
	if call, err := parseWinpop([]string{"changepwd", "a@b.example", ""}); err == nil {
		t.Errorf("an empty password: %+v", call)
	}
}

func TestTakeConfig(t *testing.T) {
	for line, want := range map[string]struct{ path, rest string }{
		"list":                      {"", "list"},
		"--config f list":           {"f", "list"},
		"--config=f list b.example": {"f", "list b.example"},
		"list --config f":           {"f", "list"},
		"list b.example --config=f": {"f", "list b.example"},
		"add a@b.example /createuser --config x y": {"", "add a@b.example /createuser --config x y"},
		"--config": {"", "--config"},
		"":         {"", ""},
	} {
		path, rest := takeConfig(strings.Fields(line))
		if path != want.path || !slices.Equal(rest, strings.Fields(want.rest)) {
			t.Errorf("%s: %q %q, want %+v", line, path, rest, want)
		}
	}
}

func TestAbout(t *testing.T) {
	for octets, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 30: "1.0 GiB", 5 << 40: "5.0 TiB", 1 << 60: "1048576.0 TiB",
	} {
		if got := about(octets); got != want {
			t.Errorf("%d: %q, want %q", octets, got, want)
		}
	}
}
