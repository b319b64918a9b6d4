package config

import (
	"path/filepath"
	"strings"
	"testing"

	"pillarbox/mailstore/auth/oauth"
)

const oauthOutbound = `hostname = "a.example"
[outbound]
smart_host = ["smtp.office365.com:587"]
tls = "verified"
user = "scanner@office.example"
oauth_token_url = "https://login.example/t/oauth2/v2.0/token"
oauth_client_id = "app-1"
oauth_secret_file = "secret"
oauth_scope = "https://outlook.office365.com/.default"
`

// No server gets the token or the secret of another.
func TestOAuthKeys(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "secret", 0o600)
	secretFile(t, folder, "isp", 0o600)
	c, err := loadIn(t, folder, oauthOutbound+`
mechanisms = ["XOAUTH2"]
[[route]]
domains = ["same.example"]
[[route]]
domains = ["other.example"]
smart_host = ["mail.other.example"]
[[route]]
domains = ["password.example"]
smart_host = ["mail.password.example"]
tls = "required"
user = "us"
password_file = "isp"
[[route]]
domains = ["gmail.example"]
smart_host = ["smtp.gmail.example"]
user = "us"
oauth_token_url = "https://oauth2.example/token"
oauth_client_id = "app-2"
oauth_token_file = "isp"
[[fetch]]
pop3 = "outlook.office365.com:995"
user = "us"
oauth_token_url = "http://127.0.0.1:8080/token"
oauth_client_id = "app-3"
oauth_secret_file = "secret"
deliver_to = "anna@a.example"
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "route[4].oauth_token_file: "+filepath.Join(folder, "isp")+" is not below data") {
		t.Errorf("warnings %q", c.Warnings)
	}
	main := oauth.Config{TokenURL: "https://login.example/t/oauth2/v2.0/token", ClientID: "app-1",
		SecretFile: filepath.Join(folder, "secret"), Scope: "https://outlook.office365.com/.default"}
	for i, want := range []oauth.Config{main, {}, {},
		{TokenURL: "https://oauth2.example/token", ClientID: "app-2", TokenFile: filepath.Join(folder, "isp")}} {
		if got := c.Routes.Routes[i].OAuth; got != want {
			t.Errorf("route %d: got %+v", i+1, got)
		}
	}
	if c.Routes.Default.OAuth != main || c.Routes.Routes[2].Mechanisms != nil {
		t.Errorf("got %+v", c.Routes.Default.OAuth)
	}
	want := oauth.Config{TokenURL: "http://127.0.0.1:8080/token", ClientID: "app-3", SecretFile: filepath.Join(folder, "secret")}
	if c.Fetch[0].OAuth != want {
		t.Errorf("fetch: got %+v", c.Fetch[0].OAuth)
	}
}

func TestOAuthMistakes(t *testing.T) {
	folder := t.TempDir()
	secretFile(t, folder, "secret", 0o600)
	secretFile(t, folder, "open", 0o644)
	for _, tt := range []struct{ old, new, want string }{
		{`"https://login.example/`, `"http://login.example/`, `outbound.oauth_token_url: "http://login.example/t/oauth2/v2.0/token" has no https`},
		{`"https://login.example/`, `"https://u:p@login.example/`, "is not the address of a token server"},
		{`user = "scanner@office.example"`, "", "outbound.oauth_token_url: has no user"},
		{`user = `, "password_file = \"secret\"\nuser = ", "outbound.password_file: does not go with oauth_token_url"},
		{`oauth_client_id = "app-1"`, "", "outbound.oauth_token_url: has no oauth_client_id"},
		{`oauth_secret_file = "secret"`, "", "outbound.oauth_token_url: has neither oauth_secret_file nor oauth_token_file"},
		{`oauth_secret_file = "secret"`, `oauth_secret_file = "open"`, "every user of this machine can read the password"},
		{`oauth_token_url = "https://login.example/t/oauth2/v2.0/token"`, `password_file = "secret"`, "outbound.oauth_scope: is set but oauth_token_url is not"},
		{`user = `, "mechanisms = [\"LOGIN\"]\nuser = ", "outbound.mechanisms: names no mechanism for an access token"},
		{`user = `, "mechanisms = [\"KERBEROS\"]\nuser = ", `outbound.mechanisms: "KERBEROS" is not a choice`},
	} {
		text := strings.Replace(oauthOutbound, tt.old, tt.new, 1)
		if _, err := loadIn(t, folder, text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", tt.new, err)
		}
	}
	_, err := loadIn(t, folder, "hostname = \"a.example\"\n[outbound]\nsmart_host = [\"smtps://m.example\"]\nuser = \"u\"\npassword_file = \"secret\"\nmechanisms = [\"XOAUTH2\"]\n")
	if err == nil || !strings.Contains(err.Error(), "names no mechanism for a password; set oauth_token_url") {
		t.Errorf("got %v", err)
	}
}
