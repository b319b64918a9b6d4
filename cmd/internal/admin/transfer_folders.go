package admin

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

// maxFolderDepth bounds how deep folders are searched.
const maxFolderDepth = 50

// readDirectory lists the messages of a directory of .eml files or of a Maildir, and of the folders
// below it if opts says so.
func (s *mailSource) readDirectory(source string, format MailFormat, opts SourceOptions) error {
	root, err := durable.Open(source)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, root)
	t := &folderTree{root: root, source: s, opts: opts}
	err = t.read(".", format, mailFolder{opts: opts}, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	slices.SortStableFunc(s.messages, func(a, b sourceMessage) int {
		return cmp.Or(a.arrived.Compare(b.arrived), cmp.Compare(a.id, b.id), cmp.Compare(filepath.Base(a.name), filepath.Base(b.name)))
	})
	return nil
}

// folderTree is a directory of which the mail is listed.
type folderTree struct {
	root   *durable.Root
	source *mailSource
	opts   SourceOptions
}

// file returns the file of this name. Links are not followed.
func (t *folderTree) file(name string) sourceFile {
	return sourceFile{filepath.Join(t.root.Name(), name), func() (plainFile, fs.FileInfo, error) { return openPlain(t.root, name) }}
}

// openPlain opens a regular file. Any other kind of file is an error.
func openPlain(root *durable.Root, name string) (plainFile, fs.FileInfo, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	return statPlain(f)
}

// read adds the messages of one directory, and those of the directories below it.
func (t *folderTree) read(dir string, format MailFormat, in mailFolder, depth int) error {
	entries, err := t.root.ReadDir(dir)
	if err != nil {
		return err
	}
	maildir := isMaildir(entries)
	if format == FormatGuess && maildir {
		format = FormatMaildir
	}
	if format == FormatMaildir {
		in.maildir = true
		err = errors.Join(t.list(path.Join(dir, "cur"), in), t.list(path.Join(dir, "new"), in))
	} else if err = refuseMailboxes(entries); err == nil {
		err = t.add(dir, entries, in)
	}
	for _, e := range entries {
		if err == nil && e.IsDir() && !(maildir && slices.Contains(maildirParts, e.Name())) {
			err = t.below(path.Join(dir, e.Name()), in, depth+1)
		}
	}
	return err
}

// maildirParts are the directories that make a Maildir.
var maildirParts = []string{"cur", "new", "tmp"}

// isMaildir reports whether a directory with these entries is a Maildir.
func isMaildir(entries []fs.DirEntry) bool {
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.IsDir() && (e.Name() == "cur" || e.Name() == "new") })
}

// refuseMailboxes refuses the domain of an old server: its mailboxes belong to several users.
func refuseMailboxes(entries []fs.DirEntry) error {
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(strings.ToLower(e.Name()), ".mbx") {
			return Hint(errors.New("contains mailboxes, not messages"), "import one at a time: name one of its directories, such as %s", e.Name())
		}
	}
	return nil
}

// below adds the messages of a folder below another, or counts the folder as left out.
func (t *folderTree) below(dir string, in mailFolder, depth int) error {
	if depth > maxFolderDepth {
		return fmt.Errorf("%s: more than %d folders below each other", dir, maxFolderDepth)
	}
	if t.opts.Recursive {
		in.trash, in.maildir = in.trash || isTrash(path.Base(dir)), false
		return t.read(dir, FormatGuess, in, depth)
	}
	const deep = 3 // to say that there is mail, no whole disk need be read
	if t.holdsMail(dir, deep) {
		t.source.left.Folders = append(t.source.left.Folders, dir)
	}
	return nil
}

// holdsMail reports whether a directory or one below it holds mail.
func (t *folderTree) holdsMail(dir string, deep int) bool {
	entries, _ := t.root.ReadDir(dir) // one that cannot be read holds no mail for this caller
	if isMaildir(entries) {
		return true
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.Type().IsRegular() && (mailstore.IsMessageFile(e.Name()) || t.isMbox(name)) || e.IsDir() && deep > 1 && t.holdsMail(name, deep-1) {
			return true
		}
	}
	return false
}

// isMbox reports whether a file begins like an mbox.
func (t *folderTree) isMbox(name string) bool {
	if strings.HasPrefix(path.Base(name), ".") {
		return false
	}
	head, err := t.file(name).begins()
	return err == nil && beginsMbox(head)
}

// list adds the messages in a part of a Maildir.
func (t *folderTree) list(dir string, in mailFolder) error {
	entries, err := t.root.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a Maildir may lack cur or new
	}
	if err != nil {
		return err
	}
	return t.add(dir, entries, in)
}

// add adds the messages among the files of a directory.
func (t *folderTree) add(dir string, entries []fs.DirEntry, in mailFolder) error {
	for _, e := range entries {
		name, base := path.Join(dir, e.Name()), e.Name()
		var err error
		switch hidden := strings.HasPrefix(base, "."); {
		case e.IsDir() || hidden || base == "account.json":
		case !e.Type().IsRegular():
			t.source.ignored++
			t.source.special++
		case in.maildir || mailstore.IsMessageFile(base):
			err = t.source.addFile(t.file(name), base, in)
		case !t.isMbox(name):
			t.source.ignored++
		case t.opts.Recursive:
			in := in
			in.trash = in.trash || isTrash(base)
			err = t.source.addMbox(t.file(name), in)
		default:
			t.source.left.Folders = append(t.source.left.Folders, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isTrash reports whether mail programs keep deleted messages in a folder of this name.
func isTrash(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, ".sbd"))
	name = name[strings.LastIndexByte(name, '.')+1:] // Maildir++: .INBOX.Trash
	return slices.Contains([]string{"trash", "deleted items", "deleted messages"}, name)
}

// parseMaildirName returns what the name of a file in a Maildir says: when the message arrived, or
// zero, and whether it has the flag T (trashed).
func parseMaildirName(base string) (arrived time.Time, trashed bool) {
	digits, _, _ := strings.Cut(base, ".")
	var seconds int64
	if _, err := fmt.Sscanf(digits, "%d", &seconds); err == nil && len(digits) <= 11 {
		arrived = plausibleTime(time.Unix(seconds, 0))
	}
	// Programs on Windows write another character for the colon, which no file may have there.
	if at := strings.LastIndex(base, "2,"); at > 0 && strings.IndexByte(":;!-", base[at-1]) >= 0 {
		trashed = strings.Contains(base[at+2:], "T")
	}
	return arrived, trashed
}
