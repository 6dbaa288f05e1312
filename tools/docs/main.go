// Command docs keeps the documentation true to the code. It expands
//
//	<!-- include: path.go#Symbol -->
//	<!-- /include -->
//
// to the present code of that symbol, and checks relative links, their anchors, and the
// names of tests, settings, routes and Redis keys in code spans.
//
//	go run ./tools/docs           rewrite the includes in place
//	go run ./tools/docs -check    exit 1 when an include differs or a link leads nowhere
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "change nothing; fail when something would change")
	root := flag.String("root", ".", "root of the repository")
	flag.Parse()
	findings, err := run(*root, *check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(2)
	}
	for _, f := range findings {
		fmt.Fprintln(os.Stderr, f)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

// run expands (or checks) every Markdown file of the repository and returns what is wrong.
func run(root string, check bool) ([]string, error) {
	files, err := markdown(root)
	if err != nil {
		return nil, err
	}
	code, err := learn(root)
	if err != nil {
		return nil, err
	}
	var findings []string
	for _, file := range files {
		old, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		expanded, problems := expand(root, string(old))
		for _, p := range problems {
			findings = append(findings, fmt.Sprintf("%s: %s", file, p))
		}
		if expanded != string(old) {
			if check {
				findings = append(findings, fmt.Sprintf("%s: an included piece of code has changed (run `make docs`)", file))
			} else if err := os.WriteFile(file, []byte(expanded), 0o644); err != nil {
				return nil, err
			}
		}
		broken, err := links(root, file, expanded)
		if err != nil {
			return nil, err
		}
		findings = append(append(findings, broken...), code.names(file, expanded)...)
	}
	anchors, err := anchorsInCode(root)
	if err != nil {
		return nil, err
	}
	return append(findings, anchors...), nil
}

// markdown lists the repository's own Markdown files.
func markdown(root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".md") {
			out = append(out, name)
		}
		return nil
	})
	sort.Strings(out)
	return out, err
}

var includeMark = regexp.MustCompile(`(?ms)^<!-- include: (\S+?)(?:#(\S+))? -->\n(?:.*?)^<!-- /include -->$`)

// expand replaces the body of every include by the present code.
func expand(root, text string) (string, []string) {
	var problems []string
	out := includeMark.ReplaceAllStringFunc(text, func(block string) string {
		m := includeMark.FindStringSubmatch(block)
		file, symbol := m[1], m[2]
		code, first, last, err := extract(filepath.Join(root, filepath.FromSlash(file)), symbol)
		if err != nil {
			problems = append(problems, err.Error())
			return block
		}
		name := file
		if symbol != "" {
			name += "#" + symbol
		}
		var b strings.Builder
		fmt.Fprintf(&b, "<!-- include: %s -->\n", name)
		fmt.Fprintf(&b, "`%s`, lines %d-%d:\n\n", file, first, last)
		fmt.Fprintf(&b, "```%s\n%s\n```\n<!-- /include -->", language(file), code)
		return b.String()
	})
	return out, problems
}

func language(file string) string {
	return map[string]string{".go": "go", ".sql": "sql", ".lua": "lua", ".yaml": "yaml"}[filepath.Ext(file)]
}

var (
	linkMark    = regexp.MustCompile(`\[[^\]\n]*\]\(([^)\s]+)\)`)
	headingMark = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#*$`)
	fenceMark   = regexp.MustCompile("(?ms)^```.*?^```$")
	// A rule of the docs named in a comment of the code: `docs/architecture.md#read-order`.
	codeAnchor = regexp.MustCompile(`\bdocs/[a-z0-9/_.-]+\.md(?:#[A-Za-z0-9_-]+)?`)
)

// links reports relative links of one page that lead nowhere.
func links(root, file, text string) ([]string, error) {
	var findings []string
	for _, m := range linkMark.FindAllStringSubmatch(fenceMark.ReplaceAllString(text, ""), -1) {
		target := m[1]
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") || strings.HasPrefix(target, "/") {
			continue
		}
		if problem := resolve(filepath.Dir(file), file, target); problem != "" {
			findings = append(findings, fmt.Sprintf("%s: link %s: %s", file, target, problem))
		}
	}
	return findings, nil
}

func resolve(dir, self, target string) string {
	name, anchor, _ := strings.Cut(target, "#")
	file := self
	if name != "" {
		file = filepath.Join(dir, filepath.FromSlash(name))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		if info, statErr := os.Stat(file); statErr == nil && info.IsDir() && anchor == "" {
			return ""
		}
		return "no such file"
	}
	if anchor == "" || !strings.HasSuffix(file, ".md") {
		return ""
	}
	for _, h := range headingMark.FindAllSubmatch(fenceMark.ReplaceAll(text, nil), -1) {
		if slug(string(h[1])) == anchor {
			return ""
		}
	}
	return "no such heading"
}

var notInSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// slug turns a heading into its anchor the way the common forges do.
func slug(heading string) string {
	heading = strings.ToLower(strings.TrimSpace(heading))
	return strings.ReplaceAll(notInSlug.ReplaceAllString(heading, ""), " ", "-")
}

// anchorsInCode reports documentation named in comments of the code that does not exist.
func anchorsInCode(root string) ([]string, error) {
	var findings []string
	err := walk(root, func(name, text string) {
		if strings.HasPrefix(filepath.ToSlash(name), filepath.ToSlash(filepath.Join(root, "tools", "docs"))+"/") {
			return
		}
		for _, ref := range codeAnchor.FindAllString(text, -1) {
			if problem := resolve(root, "", strings.TrimSpace(ref)); problem != "" {
				findings = append(findings, fmt.Sprintf("%s: %s: %s", name, ref, problem))
			}
		}
	}, ".go", ".sql", ".lua")
	return findings, err
}

// walk hands every file of the repository with one of the extensions to see.
func walk(root string, see func(name, text string), extensions ...string) error {
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains(extensions, filepath.Ext(name)) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		see(name, string(text))
		return nil
	})
}
