package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestDemoRemovesItsOwnReadyFileOnly(t *testing.T) {
	for content, stays := range map[string]bool{"own": false, "of another demo": true} {
		path := filepath.Join(t.TempDir(), "ready.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d := &demo{options: demoOptions{readyFile: path}, ready: true, wrote: []byte("own")}
		if err := d.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) == stays {
			t.Errorf("the file %q after the end: %v", content, err)
		}
	}
}
