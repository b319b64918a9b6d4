// Package crash tests the mail store against a power cut on a real kernel and a real file system.
// It holds only a test, behind the build tag crash, and the program that runs in the virtual
// machine. "make crash" runs it.
//
// The machine is QEMU with a kernel of the distribution and that one program. The program delivers
// into a store on an ext4 disk with 50 writers, also deletes messages, and reports on a serial line
// what was acknowledged. At a random time QEMU is killed, so all memory of the guest is lost at one
// moment, which no SIGKILL of a process can show. The cache of the disk is lost too: QEMU records
// every write and every flush, and the test rebuilds the disk from that record. It applies all
// writes up to the last flush and some later ones, torn at sectors. Then the machine is started
// again. It replays the file system's journal and the store's log, and reports what it holds. Every
// acknowledged message must be in each of its mailboxes, once and whole. No deleted and no damaged
// message may be there.
//
// The test cannot show a disk that answers a flush without doing it, or blocks that go bad, and it
// does not try every moment. mailtest.PowerFS tries every single step of the store on a modelled
// disk.
//
// PILLARBOX_CRASH_ROUNDS is the number of power cuts. PILLARBOX_CRASH_KERNEL is the kernel to
// start: a vmlinuz with its modules in ../lib/modules.
package crash
