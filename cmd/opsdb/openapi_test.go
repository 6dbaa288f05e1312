package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/platform/api"
)

// TestDocumentIsWhatIsCommitted pins every operation id, schema name, permission and
// parameter: clients are generated from the committed documents.
func TestDocumentIsWhatIsCommitted(t *testing.T) {
	for _, document := range []struct {
		file string
		args []string
	}{
		{"../../openapi/openapi.yaml", []string{"openapi"}},
		{"../../openapi/openapi-3.0.yaml", []string{"openapi", "--3.0"}},
		{"../../docs/configuration.md", []string{"config", "--markdown"}},
		{"../../docs/problems.md", []string{"problems"}},
	} {
		want, err := os.ReadFile(document.file)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		root := newRoot()
		root.SetArgs(document.args)
		root.SetOut(&got)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s differs from what opsdb %v prints (make gen writes it):\n%s", document.file, document.args, diff)
		}
	}
}

// TestDocumentSuitsGeneratedClients holds the whole document to the rules for
// generated clients.
func TestDocumentSuitsGeneratedClients(t *testing.T) {
	r, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.OpenAPI().Paths) < 40 {
		t.Fatalf("the document has %d paths: not all modules are in it", len(r.OpenAPI().Paths))
	}
	for _, violation := range api.CheckDocument(r.OpenAPI()) {
		t.Error(violation)
	}
}
