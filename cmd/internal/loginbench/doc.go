// Package loginbench measures how many log-ins a second the whole server takes, by mechanism, over POP3 and SMTP. It
// holds nothing but the benchmark, whose output etc/lab/benchtable reads:
//
//	go test -run='^$' -bench=. ./cmd/internal/loginbench
//
// Beside the server stands "bare": a loop that says, line for line, what the server said to the same client, and looks
// at nothing. What it takes is what connections cost, and the client's own half of the arithmetic.
package loginbench
