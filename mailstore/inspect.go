package mailstore

import (
	"pillarbox/mailstore/durable"
)

// LogState describes the log of a data directory.
type LogState struct {
	Exists      bool
	Reserve     bool  // the reserve is whole
	ReserveSize int64 // default size of the reserve in bytes
	// Pending is the number of files that the next start writes. It is known only while no server
	// runs.
	Pending int
	// Damage says, by file, why a part cannot be read. It is known only while no server runs.
	Damage       map[string]string
	DamagedFiles []string // damaged files that were kept, oldest first
}

// InspectLog describes the log of a data directory without changing it. running means that a server
// has the log open; its records are not read then.
func InspectLog(fsys durable.FS, running bool) (LogState, error) {
	reserve := durable.NewReserve(fsys, reserveFile, 1)
	st := LogState{Reserve: reserve.Held(), ReserveSize: 2 * defaultLogSize}
	_, err := fsys.Lstat(logDir + "/log0")
	if st.Exists = err == nil; !st.Exists {
		return st, nil
	}
	if st.DamagedFiles, err = durable.DamagedLogs(fsys, logDir); err != nil || running {
		return st, err
	}
	r := newRecovery(nil, nil)
	st.Damage, err = durable.PeekLog(fsys, logDir, r.read)
	st.Pending = len(r.order)
	return st, err
}
