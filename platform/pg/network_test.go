package pg_test

import (
	"io"
	"net"
	"strconv"
	"testing"
)

func itoa(port uint16) string { return strconv.Itoa(int(port)) }

// closedPort returns an address on loopback where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// forward listens on address and passes everything on to target, until the test ends.
func forward(t *testing.T, address, target string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
				go func() {
					// Either end going ends both; the copy's own error says no more.
					io.Copy(to, from)
					to.Close()
				}()
			}
		}
	}()
}
