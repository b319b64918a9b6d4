// Package e2e tests the pillarbox command as a whole, from outside: the built
// binary serves on loopback, and mail programs written by others talk to it. It
// holds nothing but tests, behind the build tag e2e:
//
//	go test -tags e2e -count=1 ./cmd/internal/e2e
//
// A test whose program is not installed is skipped, and says so; with CI=true in
// the environment it fails instead. The Debian packages with the programs are
// listed in .ci/packages.txt.
//
// PILLARBOX_E2E_BINARY names a binary to test in place of a fresh build, one
// with the race detector for instance. PILLARBOX_E2E_KILL_ROUNDS says how often
// the server is killed in the crash test.
package e2e
