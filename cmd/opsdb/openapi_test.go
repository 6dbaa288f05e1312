package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
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

// TestAccessTokensComeFromALoginAlone: by the code or the device's flow and by renewing its session; there is no password to
// send, and no address that has a token in it.
func TestAccessTokensComeFromALoginAlone(t *testing.T) {
	r, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for path, item := range r.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				if p.In != "header" && (strings.Contains(p.Name, "token") || strings.Contains(p.Name, "password")) {
					t.Errorf("%s takes a secret as %s in its address", op.OperationID, p.Name)
				}
			}
			for status, answer := range op.Responses {
				for _, content := range answer.Content {
					if content.Schema != nil && content.Schema.Ref == "#/components/schemas/AccessToken" && status < "300" {
						got = append(got, path)
					}
				}
			}
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"/auth/exchange", "/auth/refresh", "/github/device/token"}, got); diff != "" {
		t.Errorf("what gives access tokens (-want +got):\n%s", diff)
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
