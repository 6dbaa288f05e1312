// Command clock builds a program whose clock can be moved: `go build -overlay` puts
// another Now into the standard library's package time, for this program alone. The
// product has no switch for it.
//
//	go run ./tools/clock OUTPUT PACKAGE [BUILD FLAG ...]
//
// The program adds the number of seconds that it finds in the file named by the
// environment's CHAOS_CLOCK to the wall clock, and looks again twenty times a second.
// As with a clock that is set, monotonic times do not jump.
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed shift.go.txt
var shift []byte

// The one line of time.Now that is changed, and what it becomes.
const (
	reads  = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	shifts = reads + "\tsec += chaosShift.Load()\n"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: go run ./tools/clock OUTPUT PACKAGE [BUILD FLAG ...]")
		os.Exit(2)
	}
	if err := build(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "clock:", err)
		os.Exit(1)
	}
}

func build(output, pkg string, flags []string) (err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("asking go for its root: %w", err)
	}
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		return err
	}
	if strings.Count(string(source), reads) != 1 {
		return errors.New("this Go's time.Now is another one than this tool knows")
	}
	dir, err := os.MkdirTemp("", "opsdb-clock-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	replace := map[string]string{}
	for name, content := range map[string][]byte{
		"time.go":        []byte(strings.Replace(string(source), reads, shifts, 1)),
		"chaos_shift.go": shift,
	} {
		replace[filepath.Join(library, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return err
	}
	args := append([]string{"build", "-overlay", file, "-o", output}, flags...)
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
