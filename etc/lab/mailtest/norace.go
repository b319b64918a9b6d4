//go:build !race

package mailtest

// raceDetector reports whether the race detector is on. It makes tests several times slower.
const raceDetector = false
