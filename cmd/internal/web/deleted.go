package web

import (
	"pillarbox/cmd/internal/admin"
)

// This file has the page of deleted mail, for users and for operators.

// deletedShown is the number of deleted messages that the page lists.
const deletedShown = 200

// deletedPage is what the page "deleted" shows.
type deletedPage struct {
	admin.ShownDeletions
	Mailbox, Path string // Path is that of the mailbox's page
	Days          int    // that deleted mail is kept; 0: not at all
}

func showDeleted(r *request) (view, error) {
	m := r.mailbox()
	found, err := admin.UndeleteShow.Do(r.Context(), m.sees, admin.DeletedToShow{User: m.user, Limit: deletedShown})
	days := int(r.own.Config().Mailboxes.Undelete.Hours() / 24)
	return view{"deleted", "Deleted mail", deletedPage{found, m.user, m.path, days}}, err
}

func deletedActs() map[string]act {
	return map[string]act{"restore": restoreDeleted, "restore-all": restoreAllDeleted, "purge": purgeDeleted}
}

func restoreDeleted(r *request) (outcome, error) {
	return undelete(r, admin.DeletedToRestore{Messages: r.PostForm["id"]})
}

func restoreAllDeleted(r *request) (outcome, error) {
	return undelete(r, admin.DeletedToRestore{All: true})
}

func undelete(r *request, in admin.DeletedToRestore) (outcome, error) {
	m := r.mailbox()
	in.User = m.user
	done, err := admin.UndeleteRestore.Do(r.Context(), m.changes, in)
	return then(m.path+"/deleted", done.Change, err)
}

func purgeDeleted(r *request) (outcome, error) {
	m := r.mailbox()
	c, err := admin.UndeletePurge.Do(r.Context(), m.changes, admin.DeletedToPurge{User: m.user, Sure: r.sure()})
	return then(m.path+"/deleted", c, err)
}
