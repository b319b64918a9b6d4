package mailstore

import (
	"pillarbox/mailstore/durable"
)

// LogState is what a look at the store's log shows.
type LogState struct {
	Exists       bool
	Reserve      bool              // it is whole
	ReserveSize  int64             // bytes that it keeps when it is whole, as the server makes it usually
	Pending      int               // messages and other files that the next start writes, if no server runs now
	Damage       map[string]string // by file: why not all of it can be read, if no server runs now
	DamagedFiles []string          // damaged files that were put aside, the oldest first
}

// InspectLog looks at the log of a data directory and changes nothing. running says that a server has it open: then what
// the log holds at the moment is not looked at.
func InspectLog(fsys durable.FS, running bool) (LogState, error) {
	reserve := durable.NewReserve(fsys, reserveFile, 1)
	st := LogState{Reserve: reserve.Held(), ReserveSize: 2 * defaultLogSize}
	_, err := fsys.Lstat(journalDir + "/log0")
	if st.Exists = err == nil; !st.Exists {
		return st, nil
	}
	if st.DamagedFiles, err = durable.DamagedLogs(fsys, journalDir); err != nil || running {
		return st, err
	}
	r := newRecovery(nil, nil)
	st.Damage, err = durable.PeekLog(fsys, journalDir, r.read)
	st.Pending = len(r.order)
	return st, err
}
