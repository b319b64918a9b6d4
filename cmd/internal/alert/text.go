package alert

import (
	"fmt"

	"pillarbox/quota"
)

// Text returns the subject and the body of a notice, in German or in English. The body of an alert
// that began has its remedy.
func (n Notice) Text(german bool) (subject, body string) {
	words := english
	if german {
		words = deutsch
	}
	w := words[n.Kind]
	summary := w.summary(n.Facts)
	if n.Event == Ended {
		ended := words["ended"]
		return ended.subject + w.subject, fmt.Sprintf(ended.remedy, w.subject,
			n.Since.Local().Format(stamp), n.Time.Local().Format(stamp), w.ended(n.Facts))
	}
	return w.subject, summary + "\n\n" + w.remedy
}

const stamp = "2006-01-02 15:04 -0700"

// words are the texts about one kind of alert in one language.
type words struct {
	subject string
	summary func(Facts) string
	ended   func(Facts) string
	remedy  string
}

func always(text string) func(Facts) string { return func(Facts) string { return text } }

// sentence returns a format that is filled with some of the facts.
func sentence(format string, values func(Facts) []any) func(Facts) string {
	return func(f Facts) string { return fmt.Sprintf(format, values(f)...) }
}

func room(f Facts) []any {
	return []any{f.Percent, quota.Approximate(f.Octets, 1_000_000)}
}

func count(f Facts) []any { return []any{f.Count} }

func text(f Facts) []any { return []any{f.Text} }

func when(f Facts) []any { return []any{f.When.Local().Format(stamp)} }

func waiting(f Facts) []any { return []any{f.Count, f.When.Local().Format(stamp)} }

func queueEnded(empty, rest string) func(Facts) string {
	return func(f Facts) string {
		if f.Count == 0 {
			return empty
		}
		return fmt.Sprintf(rest, f.Count)
	}
}

// english and deutsch are the texts. "ended" has the words around an alert that ended.
var (
	english = map[Kind]words{
		"ended": {subject: "Over: ", remedy: `This alert is over: %s.
It began at %s and ended at %s.

%s`},
		Disk: {
			subject: "The disk of the mail server is almost full",
			summary: sentence("On the disk of the mail, %d %% of the room or of the inodes are "+
				"free (%s).\nWithout room the server refuses all mail (452).", room),
			ended: sentence("%d %% of the room and of the inodes are free (%s).", room),
			remedy: `    df -h; df -i                               shows the room and the inodes
    pillarbox admin quota list                  shows the largest mailboxes
    pillarbox admin badmail list                shows what badmail keeps
    pillarbox admin retention set               deletes old mail by a rule
    journalctl --vacuum-size=200M               shortens the system's log

Or give the disk more room.`,
		},
		Storage: {
			subject: "The mail server cannot use its disk",
			summary: sentence("The mail store takes no mail: %s.\nMail that was accepted is safe "+
				"in the log of the store. Other servers try again.", text),
			ended: always("The mail store takes mail again."),
			remedy: `    journalctl -u pillarbox -n 50      shows what the server tried
    dmesg | tail -n 50                 shows errors of the disk
    df -h; mount                       shows whether the disk is there, and writable

The server repeats the recovery every few seconds. It needs no restart when the
disk is back.`,
		},
		Certificate: {
			subject: "The certificate of the mail server ends soon",
			summary: sentence("A certificate of the server ends at %s.\nThen mail programs warn "+
				"their users, or fetch no mail.", when),
			ended: sentence("The certificate that ends first is valid until %s.", when),
			remedy: `    pillarbox admin tls show               shows the certificates and their files
    pillarbox admin tls acme status        shows why a renewal failed
    pillarbox admin tls renew              renews one of the server's own CA

Files in tls.cert and tls.key are renewed where they came from. The server takes
new ones within a minute.`,
		},
		Queue: {
			subject: "Mail to other servers does not leave",
			summary: sentence("%d messages wait for other servers, the oldest since %s.", waiting),
			ended: queueEnded("No message waits for another server.",
				"%d messages wait for other servers, none of them long."),
			remedy: `    pillarbox admin queue list             shows them, and the last reply
    pillarbox admin route test ADDRESS     tries the way to a recipient
    pillarbox admin queue retry --all      tries all of them now

Usual causes: the provider refuses the login or the sender, port 25 is closed,
the internet line is down.`,
		},
		Account: {
			subject: "An account sends too much mail and is held",
			summary: sentence("%s has sent to too many recipients on other servers.\nIts mail to "+
				"other servers is refused.", text),
			ended: sentence("%s is released.", text),
			remedy: `Ask the user. If the mail is not theirs, the password is known to others: set a
new one before you release the account.

    pillarbox admin mailbox passwd ADDRESS
    pillarbox admin mailbox release ADDRESS`,
		},
		Bans: {
			subject: "Many clients guess passwords",
			summary: sentence("%d networks of clients are banned at the same time, because they "+
				"tried too many wrong passwords.", count),
			ended: sentence("%d networks are still banned.", count),
			remedy: `    pillarbox admin bans list      shows them

The server bans such clients by itself. If one of them is yours, such as a
scanner with an old password, put its address into bans.trusted and lift the ban:

    pillarbox admin bans lift ADDRESS`,
		},
		Log: {
			subject: "A file of the mail server's log was damaged",
			summary: sentence("After an unclean end, %d files of the log in data/log could not be "+
				"read whole and were kept.\nMessages that were accepted shortly before may be "+
				"missing.", count),
			ended: always("The damaged files are gone."),
			remedy: `    pillarbox admin check      reads all mail and names what is damaged

This comes from a disk or a controller that loses what it has confirmed. Look at
the disk (smartctl -a) and at its write cache. Keep the files until you know
what is missing, then delete them.`,
		},
		Backup: {
			subject: "The mail server has no fresh backup",
			summary: sentence("Backup: %s.\nThe mail itself is not affected.", text),
			ended:   always("A backup was made."),
			remedy: `    pillarbox admin backup list      shows the backups that there are
    pillarbox admin backup run       makes one now, and says what is wrong
    df -h; mount                     shows whether the disk is there, and has room

The server tries again every hour.`,
		},
	}
	deutsch = map[Kind]words{
		"ended": {subject: "Vorbei: ", remedy: `Diese Warnung ist vorbei: %s.
Sie begann am %s und endete am %s.

%s`},
		Disk: {
			subject: "Die Platte des Mailservers ist fast voll",
			summary: sentence("Auf der Platte mit der Post sind %d %% des Platzes oder der Inodes "+
				"frei (%s).\nOhne Platz weist der Server alle Post ab (452).", room),
			ended: sentence("%d %% des Platzes und der Inodes sind frei (%s).", room),
			remedy: `    df -h; df -i                               zeigt Platz und Inodes
    pillarbox admin quota list                  zeigt die größten Postfächer
    pillarbox admin badmail list                zeigt, was in badmail liegt
    pillarbox admin retention set               löscht alte Post nach einer Regel
    journalctl --vacuum-size=200M               kürzt das Log des Systems

Oder geben Sie der Platte mehr Platz.`,
		},
		Storage: {
			subject: "Der Mailserver kann seine Platte nicht benutzen",
			summary: sentence("Der Mailspeicher nimmt keine Post an: %s.\nAngenommene Post ist im "+
				"Log des Speichers sicher. Andere Server versuchen es wieder.", text),
			ended: always("Der Mailspeicher nimmt wieder Post an."),
			remedy: `    journalctl -u pillarbox -n 50      zeigt, was der Server versucht hat
    dmesg | tail -n 50                 zeigt Fehler der Platte
    df -h; mount                       zeigt, ob die Platte da und beschreibbar ist

Der Server wiederholt die Wiederherstellung alle paar Sekunden. Er braucht keinen
Neustart, wenn die Platte wieder da ist.`,
		},
		Certificate: {
			subject: "Das Zertifikat des Mailservers läuft bald ab",
			summary: sentence("Ein Zertifikat des Servers gilt nur bis %s.\nDanach warnen "+
				"Mailprogramme ihre Benutzer oder holen keine Post mehr.", when),
			ended: sentence("Das Zertifikat, das zuerst abläuft, gilt bis %s.", when),
			remedy: `    pillarbox admin tls show               zeigt die Zertifikate und ihre Dateien
    pillarbox admin tls acme status        zeigt, warum eine Erneuerung misslang
    pillarbox admin tls renew              erneuert eines der eigenen CA

Dateien in tls.cert und tls.key werden dort erneuert, wo sie herkommen. Der
Server nimmt neue innerhalb einer Minute.`,
		},
		Queue: {
			subject: "Post an andere Server geht nicht hinaus",
			summary: sentence("%d Nachrichten warten auf andere Server, die älteste seit %s.",
				waiting),
			ended: queueEnded("Keine Nachricht wartet auf einen anderen Server.",
				"%d Nachrichten warten auf andere Server, keine davon lange."),
			remedy: `    pillarbox admin queue list             zeigt sie und die letzte Antwort
    pillarbox admin route test ADDRESS     versucht den Weg zu einem Empfänger
    pillarbox admin queue retry --all      versucht alle jetzt

Übliche Ursachen: Der Provider weist Anmeldung oder Absender ab, Port 25 ist
gesperrt, die Leitung ins Internet ist unterbrochen.`,
		},
		Account: {
			subject: "Ein Konto sendet zu viel Post und ist angehalten",
			summary: sentence("%s hat an zu viele Empfänger auf anderen Servern gesendet.\nSeine "+
				"Post an andere Server wird abgewiesen.", text),
			ended: sentence("%s ist freigegeben.", text),
			remedy: `Fragen Sie den Benutzer. Ist die Post nicht von ihm, dann kennen andere das
Passwort: Setzen Sie ein neues, bevor Sie das Konto freigeben.

    pillarbox admin mailbox passwd ADDRESS
    pillarbox admin mailbox release ADDRESS`,
		},
		Bans: {
			subject: "Viele Clients raten Passwörter",
			summary: sentence("%d Netze von Clients sind gleichzeitig gesperrt, weil sie zu viele "+
				"falsche Passwörter versucht haben.", count),
			ended: sentence("%d Netze sind noch gesperrt.", count),
			remedy: `    pillarbox admin bans list      zeigt sie

Der Server sperrt solche Clients selbst. Gehört einer davon Ihnen, etwa ein
Scanner mit einem alten Passwort, dann tragen Sie seine Adresse in bans.trusted
ein und heben die Sperre auf:

    pillarbox admin bans lift ADDRESS`,
		},
		Log: {
			subject: "Eine Datei im Log des Mailservers war beschädigt",
			summary: sentence("Nach einem unsauberen Ende waren %d Dateien des Logs in data/log "+
				"nicht ganz lesbar und wurden aufgehoben.\nNachrichten, die kurz davor "+
				"angenommen wurden, können fehlen.", count),
			ended: always("Die beschädigten Dateien sind weg."),
			remedy: `    pillarbox admin check      liest alle Post und nennt, was beschädigt ist

Das kommt von einer Platte oder einem Controller, der bestätigte Daten verliert.
Sehen Sie nach der Platte (smartctl -a) und ihrem Schreibcache. Heben Sie die
Dateien auf, bis Sie wissen, was fehlt; löschen Sie sie dann.`,
		},
		Backup: {
			subject: "Der Mailserver hat kein frisches Backup",
			summary: sentence("Backup: %s.\nDie Post selbst ist nicht betroffen.", text),
			ended:   always("Ein Backup wurde gemacht."),
			remedy: `    pillarbox admin backup list      zeigt die vorhandenen Backups
    pillarbox admin backup run       macht jetzt eines und sagt, was nicht stimmt
    df -h; mount                     zeigt, ob die Platte da ist und Platz hat

Der Server versucht es jede Stunde wieder.`,
		},
	}
)
