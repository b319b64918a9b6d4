package verify

import "testing"

func TestDecide(t *testing.T) {
	all := Settings{Reject, Reject, Reject}
	mark := Settings{Mark, Mark, Mark}
	spf := Results{SPF: SPF{Value: Fail}, DMARC: DMARC{Value: None, Disposition: "none"}}
	spoofed := Results{SPF: SPF{Value: Fail}, DKIM: []DKIM{{Value: Fail}}, DMARC: DMARC{Value: Fail, Disposition: "reject", Domain: "bank.example"}}
	forwarded := Results{SPF: SPF{Value: Fail}, DKIM: []DKIM{{Value: Fail}, {Value: Pass}}, DMARC: DMARC{Value: Pass, Disposition: "none"}}
	broken := Results{SPF: SPF{Value: Pass}, DKIM: []DKIM{{Value: Fail}, {Value: PermError}}}
	for name, tt := range map[string]struct {
		settings Settings
		results  Results
		code     [3]int // zero: no refusal
	}{
		"nothing known":                 {all, Results{}, [3]int{}},
		"SPF fails":                     {all, spf, [3]int{5, 7, 23}},
		"SPF fails, SPF off":            {Settings{Off, Reject, Reject}, spf, [3]int{}},
		"SPF fails, marked":             {mark, spf, [3]int{}},
		"softfail":                      {all, Results{SPF: SPF{Value: SoftFail}}, [3]int{}},
		"SPF temperror":                 {all, Results{SPF: SPF{Value: TempError}}, [3]int{}},
		"SPF permerror":                 {all, Results{SPF: SPF{Value: PermError}}, [3]int{}},
		"DMARC first":                   {all, spoofed, [3]int{5, 7, 26}},
		"DMARC off":                     {Settings{Reject, Reject, Off}, spoofed, [3]int{5, 7, 23}},
		"DMARC marked":                  {Settings{Mark, Mark, Mark}, spoofed, [3]int{}},
		"quarantine":                    {Settings{Mark, Mark, Reject}, Results{DMARC: DMARC{Value: Fail, Disposition: "quarantine"}}, [3]int{}},
		"forwarded":                     {all, forwarded, [3]int{}},
		"forwarded, DMARC only marked":  {Settings{Reject, Reject, Mark}, forwarded, [3]int{}},
		"forwarded, DMARC not asked":    {Settings{Reject, Reject, Off}, forwarded, [3]int{5, 7, 23}},
		"signatures broken":             {all, broken, [3]int{5, 7, 20}},
		"signatures broken, marked":     {Settings{Reject, Mark, Reject}, broken, [3]int{}},
		"unsigned":                      {all, Results{SPF: SPF{Value: None}}, [3]int{}},
		"one signature good":            {all, Results{DKIM: []DKIM{{Value: Fail}, {Value: Pass}}}, [3]int{}},
		"one signature not looked up":   {all, Results{DKIM: []DKIM{{Value: Fail}, {Value: TempError}}}, [3]int{}},
		"one signature beyond our look": {all, Results{DKIM: []DKIM{{Value: Policy}}}, [3]int{}},
		"unknown setting":               {Settings{"x", "", "REJECT"}, spoofed, [3]int{}},
	} {
		reply := Decide(tt.settings, tt.results)
		if (reply == nil) != (tt.code == [3]int{}) || reply != nil && (reply.Enhanced != tt.code || reply.Code != 550) {
			t.Errorf("%s: %v, want %v", name, reply, tt.code)
		}
	}
	if !(Settings{}).Off() || !(Settings{Off, Off, Off}).Off() || (Settings{Off, Mark, Off}).Off() {
		t.Error("Off is wrong")
	}
}
