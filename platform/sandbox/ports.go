package sandbox

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Free ports are taken below the range that systems give to outgoing
// connections (32768 and up on Linux, 49152 on macOS): a port that is given up
// for a moment, by a restart or a link that is down, must not come back as
// somebody's source port.
const (
	lowestPort  = 15000
	highestPort = 32000
)

// FreePort returns a loopback port for a server that a program of its own starts: nobody
// listens there, and no stack is given it while this process lives.
func FreePort() (int, error) {
	ports, err := freePorts(0, 1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// freePorts returns n loopback ports that can be listened on: base, base+1, …
// when base is given, else random ones. They are this process' until it ends: no other
// stack of this user is given them before they are listened on, or while what listens
// there is down.
func freePorts(base, n int) ([]int, error) {
	if base > 0 {
		ports := make([]int, n)
		for i := range ports {
			ports[i] = base + i
			if ports[i] > 65535 {
				return nil, fmt.Errorf("port base %d leaves no room for %d ports below 65536", base, n)
			}
			if err := reserved.take(ports[i]); err != nil {
				return nil, fmt.Errorf("port %d (of %d from the port base) is not free: %w", ports[i], n, err)
			}
		}
		return ports, nil
	}
	var ports []int
	var last error
	for attempts := 0; len(ports) < n; attempts++ {
		if attempts > 1000 {
			return nil, fmt.Errorf("found only %d of %d free loopback ports: %w", len(ports), n, last)
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if last = reserved.takeNew(port); last == nil {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// reserved holds the ports of this process' stacks. Between processes each port is a
// locked byte of one file, which the system unlocks when the process ends.
var reserved = &reservations{ports: map[int]bool{}}

type reservations struct {
	mu    sync.Mutex
	file  *os.File
	ports map[int]bool
}

// takeNew takes a port that is not this process' yet: two stacks that start at once must not be given the same.
func (r *reservations) takeNew(port int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ports[port] {
		return errors.New("another stack of this process has it")
	}
	return r.reserve(port)
}

// take reserves a port on which nobody listens; one that is this process' already may
// be taken again, by a stack that comes after the one before.
func (r *reservations) take(port int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reserve(port)
}

func (r *reservations) reserve(port int) error {
	if r.file == nil {
		// Stays open: closing it would give up every port.
		path := filepath.Join(os.TempDir(), fmt.Sprintf("opsdb-ports-%d", os.Geteuid()))
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		r.file = file
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: int64(port), Len: 1}
	if err := syscall.FcntlFlock(r.file.Fd(), syscall.F_SETLK, &lock); err != nil {
		return fmt.Errorf("another stack has it: %w", err)
	}
	r.ports[port] = true
	return tryPort(port)
}

func tryPort(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return listener.Close()
}
