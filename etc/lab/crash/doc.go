// Package crash tests the mail store against a power cut on a real kernel and a real file system. It holds nothing
// but a test, behind the build tag crash, and the program that runs in the virtual machine; "make crash" runs it
// through etc/crash/crash.sh.
//
// The machine is QEMU with a kernel of the distribution, and nothing in it but that program. It delivers into a
// store on an ext4 disk with 50 writers, deletes messages too, and says on a serial line what was acknowledged. At a
// random time QEMU is killed. So everything in the memory of the guest is lost at one moment, which no SIGKILL of a
// process can show. What is in the cache of the disk is lost too: QEMU records every write and every flush, and
// the test makes the disk anew from that record: all writes up to the last flush, and of those after it some,
// torn at sectors. Then the machine is started again, replays the file system's journal and the store's log, and says
// what it holds: every acknowledged message in each of its mailboxes, once and whole; nothing that was deleted;
// nothing damaged.
//
// It cannot show what a disk does that answers a flush without doing it, nor blocks that go bad; nor does it try
// every moment. Every single step of the store is tried, on a modelled disk, by mailtest.PowerFS.
//
// PILLARBOX_CRASH_ROUNDS says how many power cuts there are, PILLARBOX_CRASH_KERNEL which kernel is started: a
// vmlinuz with its modules in ../lib/modules.
package crash
