//go:build e2e

package e2e

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"strconv"
	"testing"
)

// TestSetupFiles reads the files for programs that do not run here with readers that know the formats
// only: Apple's profile and its signature, and both files for Outlook Express.
func TestSetupFiles(t *testing.T) {
	needs(t, "openssl", "python3")
	o := newOffice(t)
	const name = "Anna Öl <&> Müller"
	o.pillarbox(t, "", "admin", "mailbox", "name", anna, name)
	o.serve(t) // whose certificate signs the profile
	number := func(service string) float64 {
		port, err := strconv.Atoi(o.port(service))
		noError(t, err)
		return float64(port)
	}
	root, _ := pem.Decode([]byte(read(t, o.ca)))
	tests := []struct {
		file string
		args []string
		want map[string]any
	}{
		{"anna.mobileconfig", []string{"apple"}, map[string]any{
			"EmailAccountType": "EmailTypePOP", "EmailAddress": anna, "EmailAccountName": name,
			"IncomingMailServerHostName": hostname, "IncomingMailServerUsername": anna,
			"IncomingMailServerPortNumber": number("pop3s"), "IncomingMailServerUseSSL": true,
			"IncomingMailServerAuthentication": "EmailAuthPassword", "OutgoingMailServerAuthentication": "EmailAuthPassword",
			"OutgoingMailServerHostName": hostname, "OutgoingMailServerUsername": anna,
			"OutgoingMailServerPortNumber": number("smtps"), "OutgoingMailServerUseSSL": true,
			"CA": hex.EncodeToString(root.Bytes), "IncomingPassword": nil,
		}},
		{"anna.iaf", []string{"outlook-express"}, map[string]any{
			"123503F0": anna, "13C403F0": hostname, "13C503F0": anna, "13C803F5": 0.0,
			"13C903E9": number("pop3s"), "13CA03F5": 1.0, "142803F0": hostname, "142C03E9": 2.0,
			"142D03E9": number("smtps"), "142E03F5": 1.0, "143003F0": name, "143203F0": anna,
		}},
		{"anna.reg", []string{"outlook-express", "--reg"}, map[string]any{
			"key":          `HKEY_CURRENT_USER\Software\Microsoft\Internet Account Manager\Accounts\00000001`,
			"Account Name": anna, "POP3 Server": hostname, "POP3 User Name": anna, "POP3 Use Sicily": 0.0,
			"POP3 Port": number("pop3s"), "POP3 Secure Connection": 1.0, "SMTP Server": hostname, "SMTP Use Sicily": 2.0,
			"SMTP Port": number("smtps"), "SMTP Secure Connection": 1.0, "SMTP Display Name": name, "SMTP Email Address": anna,
		}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			file := o.path(test.file)
			o.pillarbox(t, "", append([]string{"admin", "client-setup", anna, "-o", file, "--for"}, test.args...)...)
			if test.args[0] == "apple" {
				o.opens(t, file)
			}
			var got map[string]any
			noError(t, json.Unmarshal([]byte(mustRun(t, o.command(t, "python3", "testdata/setupfiles.py", file))), &got))
			for key, want := range test.want {
				if got[key] != want {
					t.Errorf("%s is %v, want %v", key, got[key], want)
				}
			}
		})
	}
}

// opens checks the signature of a file, and replaces the file with what is signed. The same file with
// one octet changed must fail.
func (o *office) opens(t *testing.T, file string) {
	t.Helper()
	verify := func(in, out string) (string, int) {
		return run(t, o.command(t, "openssl", "cms", "-verify", "-inform", "DER", "-CAfile", o.ca, "-purpose", "any", "-in", in, "-out", out))
	}
	plain, forged := file+".plain", []byte(read(t, file))
	if out, code := verify(file, plain); code != 0 {
		t.Fatalf("the signature is not good:\n%s", out)
	}
	forged[len(forged)/3] ^= 1
	noError(t, os.WriteFile(file, forged, 0o600))
	if out, code := verify(file, os.DevNull); code == 0 {
		t.Errorf("a changed profile has a good signature:\n%s", out)
	}
	noError(t, os.Rename(plain, file))
}
