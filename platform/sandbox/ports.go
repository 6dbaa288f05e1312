package sandbox

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Free ports are taken below the range that systems give to outgoing
// connections (32768 and up on Linux, 49152 on macOS): a port that is given up
// for a moment, by a restart or a link that is down, must not come back as
// somebody's source port.
const (
	lowestPort  = 15000
	highestPort = 32000
)

// freePorts returns n loopback ports that can be listened on: base, base+1, …
// when base is given, else random ones.
func freePorts(base, n int) ([]int, error) {
	if base > 0 {
		ports := make([]int, n)
		for i := range ports {
			ports[i] = base + i
			if ports[i] > 65535 {
				return nil, fmt.Errorf("port base %d leaves no room for %d ports below 65536", base, n)
			}
			if err := tryPort(ports[i]); err != nil {
				return nil, fmt.Errorf("port %d (of %d from the port base) is not free: %w", ports[i], n, err)
			}
		}
		return ports, nil
	}
	var ports []int
	taken := map[int]bool{}
	for attempts := 0; len(ports) < n; attempts++ {
		if attempts > 1000 {
			return nil, fmt.Errorf("found only %d of %d free loopback ports", len(ports), n)
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if taken[port] || tryPort(port) != nil {
			continue
		}
		taken[port] = true
		ports = append(ports, port)
	}
	return ports, nil
}

func tryPort(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return listener.Close()
}
