package remote

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

// A server may repeat secrets in any reply. They must not appear in results, in the log or in the
// steps of a probe.
func TestSecretsAreMasked(t *testing.T) {
	const password = "IspTopSecret99"
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	echo := strings.Join([]string{password, strings.ToUpper(password), b64("\x00isp\x00" + password), strings.ToLower(b64(password)),
		b64("x" + password)}, " ")
	for name, answers := range map[string]map[string]string{
		"greeting":  {"": "421 " + echo},
		"EHLO":      {"EHLO": "250-peer\n250-AUTH " + echo + "\n250 HELP " + echo},
		"refuses":   {"EHLO": "250-peer\n250 AUTH PLAIN", "AUTH": "535 5.7.8 bad \x1b[31m" + echo},
		"LOGIN":     {"EHLO": "250-peer\n250 AUTH LOGIN", "AUTH": "334 VXNlcm5hbWU6", b64("isp"): "334 " + echo, b64(password): "454-4.7.0 " + echo + "\n454 4.7.0 " + echo},
		"MAIL":      {"EHLO": "250-peer\n250 AUTH PLAIN", "AUTH": "235 " + echo, "MAIL": "550 5.7.1 " + echo},
		"RCPT":      {"EHLO": "250-peer\n250 AUTH PLAIN", "AUTH": "235 " + echo, "RCPT": "450 4.2.0 " + echo},
		"DATA":      {"EHLO": "250-peer\n250 AUTH PLAIN", "AUTH": "235 " + echo, "DATA": "554 5.6.0 " + echo},
		"nonsense":  {"EHLO": "250-peer\n250 AUTH PLAIN", "AUTH": "235 ok", "MAIL": "399 " + echo},
		"truncated": {"EHLO": "250-peer\n250 AUTH PLAIN", "AUTH": "535 5.7.8 " + strings.Repeat(b64("\x00isp\x00"+password)+" ", 60)},
		"taken":     {"EHLO": "250-peer\n250 AUTH PLAIN", "AUTH": "235 " + echo, "DATA": "354 " + echo},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{behaviour: behaviour{answers: answers, greeting: answers[""], final: []string{"250 2.0.0 " + echo}}}
			delete(answers, "")
			var log bytes.Buffer
			r := via(t, p, func(rt *route.Route, o *Options) {
				rt.TLS, rt.User, rt.PasswordFile = route.TLSOff, "isp", passwordFile(t, password, 0o600)
				o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			outcome := r.Deliver(t.Context(), attempt(letter, "b@x.example"))
			to, _ := addr.Parse("b@x.example")
			var steps []Step
			r.Probe(t.Context(), to, to, func(s Step) { steps = append(steps, s) })
			all := fmt.Sprintf("%+v\n%+v\n%s", outcome, steps, log.String())
			folded := strings.ToLower(all)
			for _, secret := range []string{password, b64("\x00isp\x00" + password), b64(password), b64("x" + password)[2:], "\x1b", `\u001b`} {
				if strings.Contains(folded, strings.ToLower(secret)) {
					t.Errorf("%q is in\n%s", secret, all)
				}
			}
			if len(outcome.Results) != 1 || outcome.Results[0].Reply.Code == 0 {
				t.Errorf("no result: %+v", outcome)
			}
		})
	}
}

// A server that gets an ETRN may know the password from another connection.
func TestSecretsAreMaskedInETRN(t *testing.T) {
	const password = "IspTopSecret99"
	p := &peer{behaviour: behaviour{offers: []string{"ETRN"}, answers: map[string]string{"ETRN": "458 4.3.0 not for " + password}}}
	r := via(t, p, nil)
	host, _ := route.ParseHost("[192.0.2.1]")
	got, err := r.AskETRN(t.Context(), host, &route.Route{PasswordFile: passwordFile(t, password, 0o600)}, "us.example")
	if err != nil || got.Text != "not for ***" || strings.Contains(p.said(), "AUTH") {
		t.Errorf("%v, %v; said %s", got, err, p.said())
	}
}

// The responses of CRAM-MD5 and NTLM allow offline guessing of the password, so they are secret
// too.
func TestProofsAreMasked(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	response := b64([]byte("tim b913a602c7eda7a495b4e6e7334d3890"))
	p := &peer{behaviour: behaviour{offers: []string{"AUTH CRAM-MD5"}, answers: map[string]string{
		"AUTH CRAM-MD5": "334 " + b64([]byte("<1896.697170952@postoffice.reston.mci.net>")),
		response:        "535 5.7.8 not " + response + " b913a602c7eda7a495b4e6e7334d3890",
	}}}
	r := via(t, p, func(rt *route.Route, _ *Options) {
		rt.User, rt.PasswordFile = "tim", passwordFile(t, "tanstaaftanstaaf", 0o600)
	})
	outcome := r.Deliver(t.Context(), attempt(letter, "b@x.example"))
	if got := outcome.Results[0].Reply.Text; got != "not *** *** (AUTH CRAM-MD5)" {
		t.Errorf("%q", got)
	}
}
