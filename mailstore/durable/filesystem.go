package durable

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Filesystem says what kind of file system the tree lies on, and whether it is one of those that keep the promises
// that a Log rests on: a synced write to blocks that are there survives a power cut, and SyncAll brings all the
// rest to the disk and reports when it could not. A network file system may promise this, but what it does is its
// server's affair; of one that is not known, nothing is assumed.
func (r *Root) Filesystem() (name string, trusted bool, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(r.topFD, &st); err != nil {
		return "", false, &fs.PathError{Op: "statfs", Path: r.Name(), Err: err}
	}
	name, trusted = filesystem(uint32(st.Type))
	return name, trusted, nil
}

// filesystem knows the magic numbers of statfs(2).
func filesystem(magic uint32) (name string, trusted bool) {
	switch magic {
	case unix.EXT4_SUPER_MAGIC: // ext2 and ext3 have the same
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
	case unix.TMPFS_MAGIC: // nothing on it survives, one way or the other
		return "tmpfs", true
	case unix.OVERLAYFS_SUPER_MAGIC: // syncs what lies below, which is one of the above
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
