package admin

import "pillarbox/cmd/internal/clientsetup"

// ClientSetupRequest names a mailbox and a mail program.
type ClientSetupRequest struct {
	User     string
	For      string // one of clientsetup.Programs
	Registry bool   // .reg instead of .iaf, for Outlook Express
	Password string // "": none; it is neither checked nor stored
}

// clientSetup makes a file that sets up a mail program for a mailbox.
func (o *Service) clientSetup(req ClientSetupRequest) (clientsetup.File, error) {
	settings, err := o.ClientSettings(req.User)
	if err != nil {
		return clientsetup.File{}, err
	}
	box, err := o.ShowMailbox(settings.User)
	if err != nil {
		return clientsetup.File{}, err
	}
	facts := clientsetup.Facts{Settings: settings, Name: box.Name, Password: req.Password}
	if settings.CA != "" {
		if facts.Root, err = o.exportCA("der"); err != nil {
			return clientsetup.File{}, err
		}
	}
	if m, err := OpenCertificate(o.Config()); err == nil {
		facts.Sign = m.Sign
	}
	file, err := clientsetup.Render(req.For, req.Registry, facts)
	return file, Hint(err, "pillarbox settings %s", settings.User)
}
