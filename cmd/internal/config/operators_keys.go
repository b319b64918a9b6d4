package config

import "path/filepath"

// Operators is the socket over which operators who may not read the data
// directory have their commands done by the server.
type Operators struct {
	Enabled bool
	Socket  string // absolute path of a unix socket
}

func operatorsKeys() []key {
	return []key{
		boolean("operators.enabled", func(c *Config) *bool { return &c.Operators.Enabled }),
		text("operators.socket", func(c *Config) *string { return &c.Operators.Socket }, optional(socketPath)),
	}
}

const operatorsSocketName = "admin.sock"

// DefaultOperatorsSocket is where the socket of operators.socket is by default,
// for users who may not read the configuration.
const DefaultOperatorsSocket = runtimeFolder + "/" + operatorsSocketName

// resolve chooses the socket if none is set: beside that of local.socket.
func (o *Operators) resolve(local string) {
	if o.Socket == "" {
		o.Socket = filepath.Join(filepath.Dir(local), operatorsSocketName)
	}
}
