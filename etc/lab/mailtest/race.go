//go:build race

package mailtest

// raceDetector means that the test runs with the race detector, which takes most of the time.
const raceDetector = true
