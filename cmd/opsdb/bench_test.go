package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opsdb/opsdb/cmd/opsdb/internal/bench"
)

// TestBenchRunsEndToEnd runs every part at tiny sizes: what the figures are is no
// matter here, only that all are measured and written.
func TestBenchRunsEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	folder := t.TempDir()
	binary := filepath.Join(folder, "opsdb")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), binary, "bench", "--quick", "--rounds", "1", "--write", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(folder, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report bench.Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Parts) != len(bench.Parts()) {
		t.Fatalf("%d parts are written, want %v", len(report.Parts), bench.Parts())
	}
	for _, part := range report.Parts {
		judged := 0
		for _, m := range part.Measurements {
			if m.Bar != "" {
				judged++
			}
			if m.Ours == nil && part.ID != "P9" {
				t.Errorf("%s: %s was not measured", part.ID, m.What)
			}
		}
		if judged == 0 {
			t.Errorf("%s has no bar", part.ID)
		}
	}
	for _, name := range []string{"results.md", "results.svg"} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	plot, err := os.Open(filepath.Join(folder, "results.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer plot.Close()
	for d := xml.NewDecoder(plot); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot: %v", err)
		}
	}
}
