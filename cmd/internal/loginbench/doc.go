// Package loginbench measures how many logins a second the whole server handles, by mechanism, over
// POP3 and SMTP. It consists of one benchmark, whose output etc/lab/benchtable reads:
//
//	go test -run='^$' -bench=. ./cmd/internal/loginbench
//
// The server is compared with "bare", a loop that sends the same client the recorded replies of the
// server, line for line, without reading the commands. The cost of bare is the cost of the
// connections and of the client's own computations.
package loginbench
