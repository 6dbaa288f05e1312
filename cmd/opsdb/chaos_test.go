package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opsdb/opsdb/cmd/opsdb/internal/chaos"
)

// TestChaosKeepsEveryPromise is the short run of `make chaos`: another seed each
// time, which it prints.
func TestChaosKeepsEveryPromise(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "opsdb")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	history := filepath.Join(dir, "history.jsonl")
	cmd := exec.Command(binary, "chaos", "--minutes", "0.25", "--round", "15s", "--gap", "500ms", "--history", history, "--json")
	var progress strings.Builder
	cmd.Stderr = &progress
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, &progress, out)
	}
	var report chaos.Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", report.Text())
	if report.Writes < 20 || len(report.Faults) < 3 {
		t.Errorf("%d writes and the faults %v prove nothing", report.Writes, report.Faults)
	}
	if out, err := exec.Command(binary, "chaos", "check", history).CombinedOutput(); err != nil {
		t.Errorf("checking the history again: %v\n%s", err, out)
	}
}
