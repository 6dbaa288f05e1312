package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// TestPortsAreOneProcessUntilItEnds: a port that another process was given is given to
// nobody while it lives, though nobody listens there; afterwards it is free again.
func TestPortsAreOneProcessUntilItEnds(t *testing.T) {
	const asOther = "OPSDB_TEST_TAKES_PORT"
	if os.Getenv(asOther) != "" {
		ports, err := freePorts(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(ports[0])
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			t.Fatal(err)
		}
		return
	}
	other := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	other.Env = append(os.Environ(), asOther+"=1")
	end, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	port, err := strconv.Atoi(lines.Text())
	if err != nil {
		t.Fatal(err)
	}
	if ports, err := freePorts(port, 1); err == nil {
		t.Errorf("port %v was given to two processes", ports)
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // the rest of what it prints, before Wait closes the pipe
	}
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := freePorts(port, 1); err != nil {
		t.Errorf("after its process ended: %v", err)
	}
}

// TestPortsAreGivenOnce: no two stacks of a process get one port.
func TestPortsAreGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 50 {
		ports, err := freePorts(0, 40)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range ports {
			if given[port] {
				t.Fatalf("port %d was given twice", port)
			}
			given[port] = true
		}
	}
}
