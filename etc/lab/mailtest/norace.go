//go:build !race

package mailtest

// raceDetector says that the race detector is at work, which costs most of the time.
const raceDetector = false
