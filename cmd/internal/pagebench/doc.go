// Package pagebench measures the page of the whole server: what a page costs in a large office, and
// what the page costs mail. It consists of benchmarks, whose output etc/lab/benchtable reads:
//
//	go test -run='^$' -bench=. ./cmd/internal/pagebench
//
// The pages of a large office are compared with "small", the same pages of an office with two
// mailboxes.
package pagebench
