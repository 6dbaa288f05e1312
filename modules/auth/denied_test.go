package auth_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/txn"
)

// A released kind never changes: what a buffer somewhere still holds must mean the same to every later program.
func TestGoldenStepsStayReadable(t *testing.T) {
	t.Parallel()
	catalog, err := txn.NewCatalog(auth.Steps()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range catalog.Kinds() {
		content, err := os.ReadFile(filepath.Join("testdata", "steps", strings.ReplaceAll(kind, "/", "-")+".json"))
		if err != nil {
			t.Fatalf("every step has a golden file: %v", err)
		}
		var samples []json.RawMessage
		if err := json.Unmarshal(content, &samples); err != nil {
			t.Fatal(err)
		}
		for i, sample := range samples {
			step, err := catalog.Decode(pending.Step{Kind: kind, Data: sample})
			if err != nil {
				t.Errorf("%s, sample %d: %v", kind, i, err)
				continue
			}
			encoded, err := catalog.Encode(step)
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, sample); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), string(encoded.Data)); diff != "" {
				t.Errorf("%s, sample %d (-released +now):\n%s", kind, i, diff)
			}
		}
	}
}
