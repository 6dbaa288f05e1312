package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const program = `package main

import "time"

func main() {
	at := time.Now()
	println(at.Unix())
	time.Sleep(300 * time.Millisecond)
	later := time.Now()
	println(later.Unix(), later.Sub(at) < 10*time.Second)
}
`

// TestAProgramFollowsItsClockFile: from its start and when the file changes, without
// touching the time that passes.
func TestAProgramFollowsItsClockFile(t *testing.T) {
	dir := t.TempDir()
	source, binary, clock := filepath.Join(dir, "main.go"), filepath.Join(dir, "program"), filepath.Join(dir, "clock")
	for file, text := range map[string]string{source: program, clock: "3600"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := build(binary, source, nil); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = []string{"CHAOS_CLOCK=" + clock}
	var out strings.Builder
	cmd.Stderr = &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := os.WriteFile(clock, []byte("-7200"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	said := strings.Fields(out.String())
	if len(said) != 3 || said[2] != "true" {
		t.Fatalf("the program says %q", out.String())
	}
	for i, shift := range []int64{3600, -7200} {
		at, err := strconv.ParseInt(said[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if off := at - began.Unix() - shift; off < 0 || off > 30 {
			t.Errorf("reading %d is %d s from where the clock was set to", i+1, off)
		}
	}
}
