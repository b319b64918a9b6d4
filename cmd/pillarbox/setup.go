package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/clientsetup"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/cmd/internal/setup"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
)

// setupFlags are the flags of "pillarbox setup".
type setupFlags struct {
	hostname  string
	mailboxes []string
	rootMail  string
	data      string
	offset    int
	like      string
	web       string
	fromStdin bool
	noStart   bool
	dry       bool
}

func (a *app) setupCommand() *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use:   "setup [DOMAIN]",
		Short: "Set up a working server: configuration, certificate, domain, mailboxes",
		Long: "Write the configuration, a private CA and a certificate, and add the domain and its\n" +
			"mailboxes, and start the service. A second run keeps everything that exists and adds\n" +
			"only what is missing. At a terminal it asks for what the command does not say.",
		Example: "  pillarbox setup office.example --mailbox anna --mailbox boss",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			domain := ""
			if len(args) > 0 {
				domain = args[0]
			} else if err := a.askDomain(cmd, &domain, &f); err != nil {
				return err
			}
			return a.setup(domain, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.hostname, "hostname", "", "the server's own `name` (default mail.DOMAIN)")
	flags.StringArrayVar(&f.mailboxes, "mailbox", nil, "add a mailbox with this `name`; may be repeated")
	flags.StringVar(&f.rootMail, "root-mail", "", "the mailbox or `address` that gets the mail for root, such as that of cron, in the default domain; a second domain needs none (default: asks at a terminal, else the first --mailbox)")
	flags.StringVar(&f.data, "data", "", "the data `directory` (default /var/lib/pillarbox, or data beside another --config)")
	flags.IntVar(&f.offset, "port-offset", 0, "add `N` to every port: with 10000, 25 becomes 10025")
	flags.StringVar(&f.web, "web", "", "serve the page for browsers to `whom`: lan, local (this machine only) or off (default: asks at a terminal, else off)")
	flags.StringVar(&f.like, "like", "", "use the defaults of a former `server`: domino")
	flags.BoolVar(&f.fromStdin, "password-stdin", false, "read one line for each --mailbox, in order (default: generate and show once)")
	flags.BoolVar(&f.noStart, "no-start", false, "do not start the service")
	flags.BoolVar(&f.dry, "dry-run", false, "show the steps without doing them")
	return cmd
}

func (a *app) setup(domain string, f setupFlags) error {
	req, err := a.setupRequest(domain, f)
	if err != nil {
		return err
	}
	if err := a.askRootMail(req, f); err != nil {
		return err
	}
	if err := a.askWeb(req, f); err != nil {
		return err
	}
	passwords := passwordSource{}
	if f.fromStdin && !f.dry {
		if passwords.lines, err = readPasswords(a.stdin, req.Mailboxes); err != nil {
			return err
		}
	}
	result, err := setup.Run(*req, passwords.next, f.dry)
	if result != nil {
		a.printSetup(result)
	}
	// A password that was generated must be shown even if a later step failed.
	a.printPasswords(passwords.generated)
	if err != nil {
		return needsRoot(err)
	}
	if f.dry {
		a.printDryConfig(result)
		return nil
	}
	started, err := a.startService(f)
	a.printNextSteps(result, req, started)
	return err
}

// needsRoot adds a hint to an error of a process that is not root.
func needsRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && !errors.As(err, new(*admin.HintError)) {
		return admin.Hint(err, "run it with sudo")
	}
	return err
}

func (a *app) setupRequest(domain string, f setupFlags) (*setup.Request, error) {
	d, err := addr.ParseDomain(strings.TrimSuffix(domain, "."))
	if err != nil {
		return nil, usageError{admin.Hint(fmt.Errorf("%q is not a domain: %s", domain, whyNot(err)), "for example: pillarbox setup office.example")}
	}
	if err := admin.CheckNewDomain(d); err != nil {
		return nil, usageError{err}
	}
	req := &setup.Request{Domain: d, ConfigFile: a.config, Data: f.data, PortOffset: f.offset, Actor: a.actor}
	req.Actor.Act = "setup"
	if req.Like = config.Like(f.like); req.Like != "" && req.Like != config.LikeDomino {
		return nil, usageError{admin.Hint(fmt.Errorf("--like %q is not a server that setup knows", f.like),
			"write --like %s, or leave it out", config.LikeDomino)}
	}
	if req.Web, err = setup.ParseWeb(f.web); err != nil {
		return nil, usageError{admin.Hint(fmt.Errorf("--web %w", err), "write --web lan, --web local or --web off")}
	}
	if f.hostname != "" {
		if req.Hostname, err = addr.ParseDomain(f.hostname); err != nil {
			return nil, usageError{admin.Hint(fmt.Errorf("--hostname %q: %s", f.hostname, whyNot(err)),
				"write the whole name of the server, such as mail.%s", d)}
		}
	}
	for _, name := range f.mailboxes {
		box, err := newMailbox(name, d)
		if err != nil {
			return nil, usageError{fmt.Errorf("--mailbox %w", err)}
		}
		same := func(b addr.Address) bool { return b.Fold() == box.Fold() }
		if !slices.ContainsFunc(req.Mailboxes, same) {
			req.Mailboxes = append(req.Mailboxes, box)
		}
	}
	if f.rootMail != "" {
		if req.RootMail, err = rootMailAddress(f.rootMail, d); err != nil {
			return nil, usageError{admin.Hint(fmt.Errorf("--root-mail %q: %s", f.rootMail, whyNot(err)),
				"write the name of a mailbox in %s, or a whole address", d)}
		}
	}
	req.Interfaces, err = netinfo.Interfaces()
	return req, err
}

// whyNot returns the reason why a text is no address or domain.
func whyNot(err error) string {
	return strings.TrimPrefix(err.Error(), addr.ErrSyntax.Error()+": ")
}

// newMailbox reads the name of a mailbox: the part before the @, or the whole address in the new domain.
func newMailbox(name string, d addr.Domain) (addr.Address, error) {
	if a, err := addr.Parse(name); err == nil && a.Domain == d {
		return a, nil
	}
	local, err := addr.ParseLocal(name)
	if err != nil {
		return addr.Address{}, admin.Hint(fmt.Errorf("%q is not the name of a mailbox in %s", name, d),
			"write only the part before @, without blanks; repeat --mailbox for another")
	}
	return addr.Address{Local: local, Domain: d}, nil
}

// rootMailAddress reads the recipient of root's mail: an address, or a name in the new domain.
func rootMailAddress(text string, d addr.Domain) (addr.Address, error) {
	if !strings.Contains(text, "@") {
		text += "@" + string(d)
	}
	return addr.Parse(text)
}

// passwordSource supplies the passwords of new mailboxes: lines of standard input, or generated
// ones.
type passwordSource struct {
	lines     []string    // one for each mailbox, from standard input; nil: generate
	generated [][2]string // address, password
}

// readPasswords reads one line for each mailbox. It reads all of them before the setup begins, so
// that a missing one does not leave an incomplete server.
func readPasswords(stdin io.Reader, boxes []addr.Address) ([]string, error) {
	standard := config.Default()
	rules := admin.RulesOf(&standard) // setup.Run applies the rules of an existing configuration later
	lines := []string{}
	for in := bufio.NewScanner(stdin); len(lines) < len(boxes); {
		box := boxes[len(lines)]
		if !in.Scan() {
			err := in.Err()
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return nil, admin.Hint(fmt.Errorf("no password for %s on standard input: %w", box, err), "--password-stdin needs one line for each --mailbox, in order")
		}
		line := strings.TrimSuffix(in.Text(), "\r")
		if err := rules.Check(box, line); err != nil {
			return nil, admin.Hint(fmt.Errorf("password of %s: %w", box, err), "without --password-stdin, setup makes a strong one")
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func (p *passwordSource) next(box addr.Address, exists bool) (string, error) {
	switch {
	case p.lines != nil:
		line := p.lines[0]
		p.lines = p.lines[1:]
		return line, nil
	case exists:
		return "", nil
	}
	secret := auth.GeneratePassword()
	p.generated = append(p.generated, [2]string{box.String(), secret})
	return secret, nil
}

func (a *app) printSetup(r *setup.Result) {
	for _, s := range r.Steps {
		fmt.Fprintf(a.stdout, "%-10s  %s\n", s.Done, s.What)
	}
	fmt.Fprintln(a.stdout, "\nLogins without TLS are permitted from these networks (auth.plaintext_networks):")
	for _, lan := range r.Config.Auth.PlaintextNetworks {
		fmt.Fprintf(a.stdout, "  %s\n", lan)
	}
	for _, note := range r.Notes {
		a.note("%s", note)
	}
}

// printDryConfig prints the file that a real run would write.
func (a *app) printDryConfig(r *setup.Result) {
	if r.Text != nil {
		fmt.Fprintf(a.stdout, "\n%s would be:\n\n%s", a.config, r.Text)
	}
}

func (a *app) printPasswords(generated [][2]string) {
	if len(generated) == 0 {
		return
	}
	fmt.Fprintln(a.stdout, "\nPasswords, shown only this once:")
	var lines []string
	for _, g := range generated {
		lines = append(lines, "  "+g[0]+"\t"+g[1])
	}
	a.align(lines)
}

func (a *app) printNextSteps(r *setup.Result, req *setup.Request, started bool) {
	user := addr.Address{Local: "anna", Domain: req.Domain}
	if len(req.Mailboxes) > 0 {
		user = req.Mailboxes[0].Fold()
	}
	flag := ""
	if a.config != config.DefaultPath {
		flag = " --config " + a.config
	}
	sudo := "" // a person who used it needs it for the next commands too
	if os.Getenv("SUDO_USER") != "" {
		sudo = "sudo "
	}
	fmt.Fprintf(a.stdout, "\nNext:\n")
	switch {
	case started:
	case flag == "":
		fmt.Fprintf(a.stdout, "  %ssystemctl enable --now pillarbox      start the server (or: pillarbox serve)\n", sudo)
	default:
		fmt.Fprintf(a.stdout, "  %spillarbox serve%s\n", sudo, flag)
	}
	fmt.Fprintf(a.stdout, "  %spillarbox selftest%s\n", sudo, flag)
	fmt.Fprintf(a.stdout, "  %spillarbox admin mailbox add NAME@%s%s\n", sudo, req.Domain, flag)
	fmt.Fprintf(a.stdout, "  %spillarbox admin tls export-ca%s      the certificate that mail programs must trust\n", sudo, flag)
	if url := setup.PageURL(r.Config); url != "" {
		fmt.Fprintf(a.stdout, "  %spillarbox admin operator add %s%s      who then administers on the page for browsers, %s\n",
			sudo, user, flag, url)
	}
	fmt.Fprintln(a.stdout)
	a.printSettings(clientsetup.For(r.Config, user, netinfo.Addresses(req.Interfaces)))
}

// printSettings prints the settings for a mail program.
func (a *app) printSettings(s clientsetup.Settings) {
	fmt.Fprintf(a.stdout, "In the mail program of %s:\n", s.User)
	lines := []string{"  User name\t" + s.User, "  Server, incoming and outgoing\t" + s.Server}
	for _, address := range s.Addresses {
		lines = append(lines, "  … or, if that name does not resolve\t"+address)
	}
	lines = append(lines, serviceLines("Incoming mail", s.Incoming)...)
	lines = append(lines, serviceLines("Outgoing mail", s.Outgoing)...)
	a.align(append(lines, "  Outgoing server requires login\tyes, the same user name and password"))
	if s.CA == "" {
		return
	}
	fmt.Fprintf(a.stdout, `
The program must trust the CA of this server, whose SHA-256 fingerprint is
  %[1]s
Write its certificate to a file, and import this file as a certificate authority:
  %[2]s admin tls export-ca%[3]s -o office-ca.pem
  %[2]s admin tls export-ca%[3]s --format der -o office-ca.crt    for Windows and phones
`, s.CA, program(), a.commandConfig())
}

func serviceLines(label string, services []clientsetup.Service) (lines []string) {
	for _, s := range services {
		encryption := s.Encryption
		if len(s.Networks) > 0 {
			encryption = "no encryption: for old programs, and only in " + joinPrefixes(s.Networks)
		}
		lines = append(lines, fmt.Sprintf("  %s\t%s, port %d, %s", label, s.Protocol, s.Port, encryption))
		label = "… or"
	}
	return lines
}

func joinPrefixes(all []netip.Prefix) string {
	var texts []string
	for _, one := range all {
		texts = append(texts, one.String())
	}
	return wordList(texts)
}

func (a *app) settingsCommand() *cobra.Command {
	return answers(a, "settings USER", "Show the settings of a mail program for a user", takes(1, 1),
		admin.ClientSettings, first, (*app).printSettings)
}
