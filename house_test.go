// Package opsdb_test keeps the rules of the house (docs/architecture.md#who-may-import-whom)
// true: who may import whom, and where the third-party libraries may appear.
package opsdb_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/opsdb/opsdb/"

// platformUses lists, for every platform package, the other platform packages it may import.
// A package that is not listed may import none: a new one has to be thought about here.
var platformUses = map[string][]string{
	"problem": nil,
	"config":  nil,
	"observe": nil,
	"pg":      nil,
	"rdb":     nil,
	"cache":   {"rdb"},
	"lsn":     {"pg"},
	"pending": {"rdb", "lsn", "problem"},
	"txn":     {"pending", "lsn", "problem", "pg"},
	"api":     {"problem", "config", "observe"},
	// The model says in its own words what the code does, so it uses none of it.
	"protocol": nil,
	"record":   {"api", "txn", "pending", "problem"},
	"sandbox":  {"pg", "rdb"},
}

// source is one Go file of the product, tests left out.
type source struct {
	file    string   // slash path from the root
	dir     string   // its folder
	imports []string // import paths
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	for _, name := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		s := source{file: name, dir: path.Dir(name)}
		for _, spec := range f.Imports {
			s.imports = append(s.imports, strings.Trim(spec.Path.Value, `"`))
		}
		out = append(out, s)
	}
	if len(out) < 20 {
		t.Fatalf("found %d Go files, expected the whole product: the test runs in the wrong folder", len(out))
	}
	return out
}

// goFiles are the slash paths of all Go files, tests among them.
func goFiles(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") {
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestImportsFollowTheHouse(t *testing.T) {
	for _, s := range sources(t) {
		for _, imp := range s.imports {
			if rest, ok := strings.CutPrefix(imp, module); ok {
				if why := forbiddenInside(s, rest); why != "" {
					t.Errorf("%s imports %s: %s", s.file, rest, why)
				}
				continue
			}
			if why := forbiddenLibrary(s, imp); why != "" {
				t.Errorf("%s imports %s: %s", s.file, imp, why)
			}
		}
	}
}

// forbiddenInside says why a file may not import a package of this module; empty when it may.
func forbiddenInside(s source, target string) string {
	from := strings.Split(s.dir, "/")
	to := strings.Split(target, "/")
	if to[0] == "cmd" && from[0] != "cmd" {
		return "nothing imports cmd"
	}
	if from[0] == "cmd" || from[0] == "tools" {
		return ""
	}
	if strings.Contains(target, "/internal/") && !strings.HasPrefix(target, from[0]+"/"+from[1]+"/") {
		return "internal packages belong to their module"
	}
	if len(to) > 1 && to[0] == "platform" && to[1] == "sandbox" && !(from[0] == "platform" && len(from) > 1 && from[1] == "sandbox") && !testHarness(s.dir) {
		return "sandbox is for cmd and tests only"
	}
	switch from[0] {
	case "platform":
		if to[0] == "modules" {
			return "platform knows nothing of the domain"
		}
		if to[0] != "platform" || to[1] == from[1] {
			return ""
		}
		if testHarness(s.dir) {
			return ""
		}
		allowed, known := platformUses[from[1]]
		if !known {
			return "unknown platform package: add it to platformUses"
		}
		for _, name := range allowed {
			if to[1] == name {
				return ""
			}
		}
		return "platform/" + from[1] + " may not use platform/" + to[1]
	case "modules":
		if to[0] != "modules" || to[1] == from[1] {
			return ""
		}
		if from[1] == "transfers" && target == "modules/observations" {
			return ""
		}
		return "modules do not import each other"
	}
	return ""
}

// testHarness tells packages that exist for tests alone (like net/http/httptest).
func testHarness(dir string) bool { return strings.HasSuffix(path.Base(dir), "test") }

// forbiddenLibrary says why a file may not import a library; empty when it may.
func forbiddenLibrary(s source, imp string) string {
	operations := strings.HasPrefix(path.Base(s.file), "operations")
	in := func(dirs ...string) bool {
		for _, d := range dirs {
			if s.dir == d || strings.HasPrefix(s.dir, d+"/") {
				return true
			}
		}
		return false
	}
	switch {
	case in("cmd", "tools", "platform/sandbox") || testHarness(s.dir):
		return ""
	case strings.HasPrefix(imp, "github.com/danielgtaylor/huma"):
		if !in("platform/api", "platform/problem") && !(strings.HasPrefix(s.dir, "modules/") && operations) {
			return "huma belongs to platform/api, platform/problem and operations*.go"
		}
	case strings.HasPrefix(imp, "github.com/redis/go-redis"):
		if !in("platform/rdb", "platform/cache", "platform/pending") {
			return "go-redis belongs to platform/rdb, platform/cache and platform/pending"
		}
	case strings.HasPrefix(imp, "github.com/jackc/pgx"):
		if operations || in("platform/api", "platform/config", "platform/observe", "platform/cache", "platform/rdb") {
			return "pgx stays below the handlers"
		}
	}
	return ""
}

// TestNoHandlerAsksForTheSiteType: the site type is decided once, at wiring.
func TestNoHandlerAsksForTheSiteType(t *testing.T) {
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.dir, "modules/") || !strings.HasPrefix(path.Base(s.file), "operations") {
			continue
		}
		for _, imp := range s.imports {
			if imp == module+"platform/config" {
				t.Errorf("%s imports platform/config: handlers get what they need from serve.go", s.file)
			}
		}
	}
}

// TestNoClockThatIsSetMeasuresTime: a duration is the difference of two time.Time, whose monotonic readings no clock moves.
// Of Unix nanoseconds "a moment ago" lasts for as long as the clock was set back.
func TestNoClockThatIsSetMeasuresTime(t *testing.T) {
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.dir, "platform/") && !strings.HasPrefix(s.dir, "modules/") {
			continue
		}
		text, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), ".UnixNano()") {
			t.Errorf("%s measures with UnixNano: keep a time.Time", s.file)
		}
	}
}

// TestCryptographyIsInTheInventory: nothing uses an algorithm that docs/security.md#cryptography does not name, and AES only as
// GCM, which notices what was changed.
func TestCryptographyIsInTheInventory(t *testing.T) {
	security, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, inventory, found := strings.Cut(string(security), "\n## Cryptography\n")
	if !found {
		t.Fatal("docs/security.md has no inventory of cryptography")
	}
	inventory, _, _ = strings.Cut(inventory, "\n## ")
	used := 0
	for _, s := range sources(t) {
		for _, imp := range s.imports {
			if !strings.HasPrefix(imp, "crypto/") && !strings.HasPrefix(imp, "hash/") && !strings.HasPrefix(imp, "golang.org/x/crypto/") {
				continue
			}
			used++
			if !strings.Contains(inventory, "`"+imp+"`") {
				t.Errorf("%s imports %s, which the inventory of docs/security.md does not have", s.file, imp)
			}
			if imp != "crypto/cipher" {
				continue
			}
			text, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range strings.Split(string(text), "cipher.New")[1:] {
				if !strings.HasPrefix(call, "GCM") {
					t.Errorf("%s encrypts with cipher.New%.10s", s.file, call)
				}
			}
		}
	}
	if used < 10 {
		t.Errorf("%d uses were found", used)
	}
}

// TestEveryLogOfATestIsSearchedForSecrets: a test gives the product a logger of observetest, at the level debug, or none.
func TestEveryLogOfATestIsSearchedForSecrets(t *testing.T) {
	searched := 0
	for _, name := range goFiles(t) {
		dir := path.Dir(name)
		if !strings.HasSuffix(name, "_test.go") && !testHarness(dir) || strings.HasPrefix(dir, "tools/") || dir == "platform/observe/observetest" || dir == "." {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			seen := strings.Contains(line, "observetest.Logger(")
			if !seen && (strings.Contains(line, "slog.New(") || strings.Contains(line, "slog.DiscardHandler")) {
				t.Errorf("%s:%d has a logger that nobody searches: take observetest.Logger", name, i+1)
			}
			if seen {
				searched++
			}
		}
	}
	if searched < 20 {
		t.Errorf("%d loggers of tests were found, expected those of all packages", searched)
	}
}
