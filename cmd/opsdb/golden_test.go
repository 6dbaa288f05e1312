package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryKindIsInAGoldenBuffer: a buffer that an earlier version has left must be
// drained by every later one, whatever steps it holds, so each kind of step is in one.
func TestEveryKindIsInAGoldenBuffer(t *testing.T) {
	catalog, err := newCatalog()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../modules/*/testdata/buffers/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no golden buffers: %v", err)
	}
	var held strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		held.Write(content)
	}
	for _, kind := range catalog.Kinds() {
		if !strings.Contains(held.String(), `\"`+kind+`\"`) {
			t.Errorf("no golden buffer holds a step %s: let writeGoldenBuffer (modules/observations/golden_buffer_test.go) make one, and write the buffer "+
				"of the version that is about to be released: OPSDB_GOLDEN_BUFFER=<version> go test ./modules/observations -run TestGoldenBuffersDrain", kind)
		}
	}
}
