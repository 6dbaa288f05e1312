package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestIncludeFollowsTheCode(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.go", "package a\n\n// F adds.\nfunc F() int {\n\treturn 1\n}\n")
	write(t, dir, "q.sql", "-- Find finds.\n-- name: Find :one\nSELECT 1;\n\n-- name: Other :one\nSELECT 2;\n")
	write(t, dir, "p.md", "# Page\n\n<!-- include: a.go#F -->\n<!-- /include -->\n\n<!-- include: q.sql#Find -->\n<!-- /include -->\n")

	if findings, err := run(dir, true); err != nil || len(findings) != 1 {
		t.Fatalf("an unexpanded include must be found: %v, %v", findings, err)
	}
	if findings, err := run(dir, false); err != nil || len(findings) != 0 {
		t.Fatalf("expanding: %v, %v", findings, err)
	}
	if findings, err := run(dir, true); err != nil || len(findings) != 0 {
		t.Fatalf("after expanding nothing is left to do: %v, %v", findings, err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "p.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"// F adds.", "return 1", "`a.go`, lines 3-6", "-- Find finds.", "SELECT 1;"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(string(page), "SELECT 2") {
		t.Errorf("the query after the named one was included:\n%s", page)
	}

	write(t, dir, "a.go", "package a\n\n// F adds.\nfunc F() int {\n\treturn 2\n}\n")
	if findings, err := run(dir, true); err != nil || len(findings) != 1 {
		t.Fatalf("changed code must be found: %v, %v", findings, err)
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "docs/a.md", "# A page\n\n## Read order\n\n[good](b.md#who-may) [self](#read-order) [no file](c.md) [no heading](b.md#nobody)\n")
	write(t, dir, "docs/b.md", "# B\n\n## Who may?\n")
	write(t, dir, "x.go", "package x\n\n// docs/a.md#read-order and docs/a.md#gone\n")
	findings, err := run(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 3 {
		t.Fatalf("want the missing file, the missing heading and the missing anchor, got %q", findings)
	}
}

func TestNamesThatDoNotExistAreFound(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "x_test.go", "package x\n\nfunc TestThere(t *testing.T) {}\n")
	write(t, dir, "docs/configuration.md", "| variable | default |\n| --- | --- |\n| `SITE_NAME` | none |\n")
	write(t, dir, "openapi/openapi.yaml", "paths:\n  /things/{id}:\n    get:\n      operationId: get-thing\n")
	write(t, dir, "platform/pending/scripts/a.lua", "redis.call('GET', p .. 'seq')\n")
	write(t, dir, "docs/a.md", "`TestThere` `TestGone` `SITE_NAME` `SITE_GAME` `GET /things/{thing}` `POST /things/{id}` `site:{name}:seq` `site:{name}:sequel`\n")
	write(t, dir, "plants_test.go", "package x\n\nvar plants = []plant{\n\t{\"no guard\", \"a.lua\"},\n}\n")
	write(t, dir, "docs/b.md", "Planted: *no guard*,\n*no gourd*. None yet: more.\n\n*not a plant*\n")
	findings, err := run(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 5 {
		t.Fatalf("want a test, a setting, a route, a key and a planted bug, got %q", findings)
	}
}

// TestDocumentationIsTrue holds the documentation of this repository to its code.
func TestDocumentationIsTrue(t *testing.T) {
	findings, err := run("../..", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Error(f)
	}
}
