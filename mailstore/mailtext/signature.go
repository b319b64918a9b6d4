package mailtext

import (
	"bytes"
	"regexp"
)

// SignatureSize is how many octets of a file Recognize needs at most.
const SignatureSize = 1024

// NotMail is a kind of file that holds no message as text, or holds it in a form that is not read
// here.
type NotMail struct {
	Name   string // such as "an Outlook data file (.pst or .ost)"
	Advice string // how to get text out of it
}

// signatures are the first octets of files that are given for mail by mistake.
var signatures = []struct {
	at    int
	start string
	kind  NotMail
}{
	{0, "!BDN", NotMail{"an Outlook data file (.pst or .ost)", "'readpst -M' of the package pst-utils makes .eml files of it"}},
	{0, "\xcf\xad\x12\xfe", NotMail{"a folder of Outlook Express (.dbx)", "'undbx' of the package undbx makes .eml files of it"}},
	{0, "JMF9", NotMail{"a folder of Outlook Express 4 (.mbx)", "import it into Outlook Express, and drag the messages into a directory"}},
	{0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", NotMail{"a message of Outlook (.msg) or an Office document", "save it as .eml; 'msgconvert' of the package libemail-outlook-message-perl does so"}},
	{0, "\x1a\x00\x00\x04\x00\x00", NotMail{"a database of Domino (.nsf)", "collect its mail by POP3 or IMAP"}},
	{0, "\x78\x9f\x3e\x22", NotMail{"a TNEF attachment (winmail.dat)", "it is an attachment and no message; 'tnef' unpacks it"}},
	{0, "\x1f\x8b", compressed("gzip", "gunzip")},
	{0, "BZh", compressed("bzip2", "bunzip2")},
	{0, "\xfd7zXZ\x00", compressed("xz", "unxz")},
	{0, "\x28\xb5\x2f\xfd", compressed("zstd", "unzstd")},
	{0, "\x04\x22\x4d\x18", compressed("lz4", "unlz4")},
	{0, "Dovecot-LZ4\r\x2a\x9b\xc5", compressed("lz4 of Dovecot", "doveadm backup")},
	{0, "\x1f\x9d", compressed("compress", "uncompress")},
	{0, "PK\x03\x04", compressed("zip", "unzip")},
	{0, "7z\xbc\xaf\x27\x1c", compressed("7z", "7z x")},
	{0, "Rar!\x1a\x07", compressed("rar", "unrar x")},
	{257, "ustar", NotMail{"a tar archive", "unpack it first: 'tar xf'"}},
	{0, "CRYPTED\x03\x07", NotMail{"a file that Dovecot encrypted (mail_crypt)", "collect the mail by POP3 or IMAP, or copy it with 'doveadm backup'"}},
	{0, "SQLite format 3\x00", NotMail{"an SQLite database", "export the mail from the program that wrote it"}},
	{0, "// <!-- <mdb:mork:z", NotMail{"an index of Thunderbird (.msf)", "the mail is in the file beside it that has no .msf in its name"}},
	{0, "*mbx*\r\n", NotMail{"a mailbox in the format mbx of UW IMAP", "'mailutil copy' of the package uw-mailutils makes an mbox of it"}},
	{0, "*mix*", NotMail{"a mailbox in the format mix of UW IMAP", "'mailutil copy' of the package uw-mailutils makes an mbox of it"}},
	{0, "\x01\x01\x01\x01\n", NotMail{"a mailbox in the format MMDF", "'mailutil copy' of the package uw-mailutils makes an mbox of it"}},
	{0, "\xff\xfe", utf16},
	{0, "\xfe\xff", utf16},
	{0, "F\x00r\x00o\x00m\x00", utf16},
	{0, "\x00F\x00r\x00o\x00m", utf16},
	{0, "<?xml", NotMail{"an XML file", "export the mail as mbox or .eml"}},
	{0, "bplist00", NotMail{"a property list of Apple", "the mail is in the other files"}},
	{0, "%PDF-", NotMail{"a PDF document", "save the message as .eml"}},
}

var utf16 = NotMail{"text in UTF-16", "convert it first: 'iconv -f UTF-16 -t UTF-8'"}

// appleMail is the first line of an .emlx file: the size of the message that follows.
var appleMail = regexp.MustCompile(`^\d{1,12} *\r?\n[!-9;-~]+:`)

func compressed(method, command string) NotMail {
	return NotMail{"a compressed file (" + method + ")", "unpack it first: '" + command + "'"}
}

// Recognize returns what a file is that begins with head, if its first octets show that it is no
// message and no mbox. head needs at most SignatureSize octets of the file.
func Recognize(head []byte) (NotMail, bool) {
	for _, s := range signatures {
		if len(head) > s.at && bytes.HasPrefix(head[s.at:], []byte(s.start)) {
			return s.kind, true
		}
	}
	if appleMail.Match(head) {
		return NotMail{"a message of Apple Mail (.emlx)", "export the folder as mbox: menu Mailbox, 'Export Mailbox'"}, true
	}
	return NotMail{}, false
}
