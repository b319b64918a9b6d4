// Package e2e tests the pillarbox command as a whole, from outside: the built binary serves on
// loopback, and mail programs of other makers talk to it. The package has only tests, with the
// build tag e2e:
//
//	go test -tags e2e -count=1 ./cmd/internal/e2e
//
// A test is skipped if its program is not installed; with CI=true in the environment it fails
// instead. .ci/packages.txt lists the Debian packages of the programs.
//
// PILLARBOX_E2E_BINARY names a binary to test instead of a fresh build, for example one with the
// race detector. PILLARBOX_E2E_KILL_ROUNDS sets how often the crash test kills the server.
// PILLARBOX_E2E_PICTURES names a directory for pictures of every web page, and of mail programs.
package e2e
