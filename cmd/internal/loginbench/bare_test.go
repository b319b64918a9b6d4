package loginbench

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"
)

// listenBare sends the replies of a recorded session to each client, one after each line received.
func listenBare(b *testing.B, replies []string) (address string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := replay(conn, replies); err != nil && !errors.Is(err, io.EOF) {
					b.Error(err)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func replay(conn net.Conn, replies []string) error {
	in := bufio.NewReaderSize(conn, 1024)
	for i, reply := range replies {
		if i > 0 {
			if _, err := in.ReadSlice('\n'); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return err
		}
	}
	return nil
}
