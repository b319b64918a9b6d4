package selftest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/auth/ntlm"
)

// wantsSPA reports whether the server refuses a login with the plain password.
func wantsSPA(cfg *config.Config) bool {
	return cfg.LogIns.RequireSPA || !slices.Contains(cfg.LogIns.Mechanisms, auth.PLAIN)
}

// credentials returns the login of the test's mailbox.
func (t *test) credentials() sasl.Client {
	if t.spa {
		return &ntlmClient{ntlm.Client{User: t.box.String(), Password: t.password}}
	}
	return sasl.NewPlainClient("", t.box.String(), t.password)
}

// ntlmClient is the client side of NTLM.
type ntlmClient struct{ ntlm.Client }

func (c *ntlmClient) Start() (mechanism string, initial []byte, err error) {
	return auth.NTLM, c.Negotiate(), nil
}

func (c *ntlmClient) Next(challenge []byte) (response []byte, err error) {
	return c.Authenticate(challenge)
}

// logIn logs in by AUTH (RFC 5034).
func (p *popClient) logIn(client sasl.Client) error {
	mechanism, response, err := client.Start()
	line := "AUTH " + mechanism + " "
	for err == nil {
		if err = p.text.PrintfLine("%s%s", line, base64.StdEncoding.EncodeToString(response)); err != nil {
			break
		}
		var answer string
		if answer, err = p.text.ReadLine(); err != nil || strings.HasPrefix(answer, "+OK") {
			break
		}
		challenge, more := strings.CutPrefix(answer, "+ ")
		if !more {
			return fmt.Errorf("the server says %q", answer)
		}
		if response, err = base64.StdEncoding.DecodeString(challenge); err == nil {
			response, err = client.Next(response)
		}
		line = ""
	}
	return err
}
