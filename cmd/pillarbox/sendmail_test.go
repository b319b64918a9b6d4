package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseSendmail(t *testing.T) {
	for line, want := range map[string]string{
		"root":                                 "m root",
		"-FCronDaemon -i -B8BITMIME -oem root": "mi8 F=CronDaemon root",
		"-t -i":                                "mti",
		"-ti":                                  "mti",
		"-oi -f anna@b.example a,b c":          "mi f=anna@b.example a,b c",
		"-fanna -- -x y":                       "m f=anna -x y",
		"-r <> x":                              "m f=<> x",
		"-bs":                                  "s",
		"-bm -odq -oi -om -em -N success,failure -R hdrs -V id x": "mi N=SUCCESS,FAILURE R=HDRS V=id x",
		"-q15m":                        "mq",
		"-q":                           "mq",
		"-C /etc/x -O a=b -L tag -v x": "mv x",
		"--config a.toml -t":           "mt c=a.toml",
		"--config=a.toml -t":           "mt c=a.toml",
		"-f":                           "!-f needs a value",
		"-Z":                           "!unknown option -Z",
		"--frob":                       "!unknown option --frob",
		"-bi":                          "mq",
		"-bd":                          "!unknown mode -bd",
		"-bp":                          "!-bp is not supported",
	} {
		c, err := parseSendmail(strings.Fields(line))
		if err != nil {
			if text, ok := strings.CutPrefix(want, "!"); !ok || !strings.Contains(err.Error(), text) || exitOf(err) != exitUsage {
				t.Errorf("%s: %v", line, err)
			}
			continue
		}
		if got := describe(c); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func describe(c *sendmailCall) string {
	words := []string{"m"}
	if c.smtp {
		words[0] = "s"
	}
	for _, flag := range []struct {
		set    bool
		letter string
	}{{c.fromHeader, "t"}, {c.keepDots, "i"}, {c.eightBit, "8"}, {c.idle, "q"}, {c.verbose, "v"}} {
		if flag.set {
			words[0] += flag.letter
		}
	}
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+"="+value)
		}
	}
	if c.sender != nil {
		add("f", *c.sender)
	}
	add("F", c.fullName)
	add("N", c.notify)
	add("R", c.ret)
	add("V", c.envID)
	add("c", c.config)
	return strings.Join(append(words, c.recipients...), " ")
}

func TestCalledAs(t *testing.T) {
	for _, test := range [][2]string{
		{"/usr/sbin/sendmail -t x", "sendmail -t x"}, {"pillarbox admin", "admin"}, {"pillarbox", ""}, {"sendmail", "sendmail"},
	} {
		if got := calledAs(strings.Fields(test[0])); !slices.Equal(got, strings.Fields(test[1])) {
			t.Errorf("%s: %q", test[0], got)
		}
	}
}

func TestDotEnds(t *testing.T) {
	for in, want := range map[string]string{
		"a\n.\nb": "a\n", "a\r\n.\r\nb": "a\r\n", ".\nx": "", ".": "", "a\n.": "a\n", "..\n.a\nb.\n": "..\n.a\nb.\n",
		"a": "a", "": "", ".\ra\n.\n": ".\ra\n", "a\n.\r": "a\n",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			if got, err := io.ReadAll(&dotEnded{r: r, start: true}); err != nil || string(got) != want {
				t.Errorf("%q: %q, %v; want %q", in, got, err, want)
			}
		}
	}
}

func TestExitCode(t *testing.T) {
	for reply, want := range map[string]int{
		"421 4.3.2 busy": exitTryAgain, "550 5.1.1 nobody": exitNoUser, "550 5.7.1 no": exitNoRight, "552 5.3.4 large": exitUnavailable,
		"553 5.1.3 address": exitUsage, "554 5.6.0 text": exitData, "554 no": exitUnavailable,
	} {
		code := (int(reply[0]-'0')*10+int(reply[1]-'0'))*10 + int(reply[2]-'0')
		if got := exitCode(code, reply[4:]); got != want {
			t.Errorf("%s: %d, want %d", reply, got, want)
		}
	}
}
