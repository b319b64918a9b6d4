package durable

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Filesystem returns the kind of file system of the tree, and whether a Log can rely on it. A Log
// needs two promises: a synced write to existing blocks survives a power cut, and SyncAll writes
// the rest to the disk or reports an error. A network file system depends on its server and is not
// trusted. An unknown one is not trusted either.
func (r *Root) Filesystem() (name string, trusted bool, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(r.topFD, &st); err != nil {
		return "", false, &fs.PathError{Op: "statfs", Path: r.Name(), Err: err}
	}
	name, trusted = filesystem(uint32(st.Type))
	return name, trusted, nil
}

// filesystem maps the magic numbers of statfs(2).
func filesystem(magic uint32) (name string, trusted bool) {
	switch magic {
	case unix.EXT4_SUPER_MAGIC: // also ext2 and ext3
		return "ext4", true
	case unix.XFS_SUPER_MAGIC:
		return "xfs", true
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", true
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs", true
	case 0x2fc12fc1:
		return "zfs", true
	case 0xca451a4e:
		return "bcachefs", true
	case unix.TMPFS_MAGIC: // loses everything in any case
		return "tmpfs", true
	case unix.OVERLAYFS_SUPER_MAGIC: // syncs the file system below it
		return "overlay", true
	case unix.NFS_SUPER_MAGIC:
		return "nfs", false
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "smb", false
	case unix.FUSE_SUPER_MAGIC:
		return "fuse", false
	case unix.V9FS_MAGIC:
		return "9p", false
	case unix.CEPH_SUPER_MAGIC:
		return "ceph", false
	case unix.MSDOS_SUPER_MAGIC:
		return "fat", false
	case unix.EXFAT_SUPER_MAGIC:
		return "exfat", false
	}
	return fmt.Sprintf("type 0x%x", magic), false
}

// DiskSpace is the room of a file system.
type DiskSpace struct {
	Size, Free       int64 // octets; Free is what an account that is not root may use
	Files, FreeFiles int64 // the largest number of files, and how many more fit; 0: no limit
	ReadOnly         bool  // mounted so
}

// Space returns the room of the file system that a path is on. It waits as long as the file system
// does.
func Space(path string) (DiskSpace, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return DiskSpace{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	block := int64(st.Bsize)
	return DiskSpace{
		Size: int64(st.Blocks) * block, Free: int64(st.Bavail) * block,
		Files: int64(st.Files), FreeFiles: int64(st.Ffree),
		ReadOnly: st.Flags&unix.ST_RDONLY != 0,
	}, nil
}
