package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Names in code spans of the documentation that must exist: tests, settings, routes of
// the API and Redis keys.
var (
	codeSpan    = regexp.MustCompile("`([^`\n]+)`")
	testName    = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)[A-Z]\w+$`)
	settingName = regexp.MustCompile(`^[A-Z]{2,}(?:_[A-Z0-9]+)+$`)
	routeName   = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE) (/[^\s?]*)`)
	keyName     = regexp.MustCompile(`^site:(?:\{name\}|observatory):([a-z_]+)$`)
	testFunc    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	settingRow  = regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\|")
	refusedName = regexp.MustCompile(`"([A-Z]+(?:_[A-Z]+)+)"`) // settings of the original, refused by name
	pathLine    = regexp.MustCompile(`^  (/[^:]*):$`)
	methodLine  = regexp.MustCompile(`^    (get|post|put|patch|delete):$`)
	// Planted bugs, as docs/guarantees.md names them: "Planted: *name*, *name*."
	plantsMark  = regexp.MustCompile(`(?ms)^Planted: (.*?)(?:\n\n|\z)`)
	plantMark   = regexp.MustCompile(`\*([^*]+)\*`)
	plantEntry  = regexp.MustCompile(`(?m)^\t\{"([^"]+)", "`)
	placeholder = regexp.MustCompile(`\{[^}]+\}`)
)

// known is what the code has of the things that the documentation names.
type known struct {
	tests, settings, routes, plants map[string]bool
	scripts                         string // all of the buffer's code, for its keys
}

// names reports what a page names and the code does not have.
func (k known) names(file, text string) []string {
	var findings []string
	missing := func(what, name string) {
		findings = append(findings, fmt.Sprintf("%s: there is no %s %s", file, what, name))
	}
	for _, m := range codeSpan.FindAllStringSubmatch(fenceMark.ReplaceAllString(text, ""), -1) {
		name := strings.TrimSpace(m[1])
		switch {
		case testName.MatchString(name):
			if !k.tests[name] {
				missing("test", name)
			}
		case settingName.MatchString(name):
			if !k.settings[name] {
				missing("setting", name)
			}
		case keyName.MatchString(name):
			if !strings.Contains(k.scripts, "'"+keyName.FindStringSubmatch(name)[1]+"'") {
				missing("Redis key", name)
			}
		default:
			if r := routeName.FindStringSubmatch(name); r != nil && !k.routes[r[1]+" "+placeholder.ReplaceAllString(r[2], "{}")] {
				missing("route", name)
			}
		}
	}
	for _, block := range plantsMark.FindAllStringSubmatch(text, -1) {
		for _, m := range plantMark.FindAllStringSubmatch(block[1], -1) {
			if !k.plants[m[1]] {
				missing("planted bug", m[1])
			}
		}
	}
	return findings
}

// learn reads what the code has: the generated documents name settings and routes.
func learn(root string) (known, error) {
	k := known{tests: map[string]bool{}, settings: map[string]bool{}, routes: map[string]bool{}, plants: map[string]bool{}}
	err := walk(root, func(name, text string) {
		if strings.HasSuffix(name, "_test.go") {
			for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
				k.tests[m[1]] = true
			}
			if strings.HasSuffix(name, "plants_test.go") {
				for _, m := range plantEntry.FindAllStringSubmatch(text, -1) {
					k.plants[m[1]] = true
				}
			}
		}
		if strings.Contains(filepath.ToSlash(name), "platform/config/") {
			for _, m := range refusedName.FindAllStringSubmatch(text, -1) {
				k.settings[m[1]] = true
			}
		}
		if strings.Contains(filepath.ToSlash(name), "platform/pending/scripts/") {
			k.scripts += text
		}
	}, ".go", ".lua")
	if err != nil {
		return k, err
	}
	settings, err := optional(filepath.Join(root, "docs", "configuration.md"))
	if err != nil {
		return k, err
	}
	for _, m := range settingRow.FindAllStringSubmatch(settings, -1) {
		k.settings[m[1]] = true
	}
	document, err := optional(filepath.Join(root, "openapi", "openapi.yaml"))
	if err != nil {
		return k, err
	}
	path := ""
	for line := range strings.Lines(document) {
		line = strings.TrimRight(line, "\n")
		if m := pathLine.FindStringSubmatch(line); m != nil {
			path = placeholder.ReplaceAllString(m[1], "{}")
		} else if m := methodLine.FindStringSubmatch(line); m != nil && path != "" {
			k.routes[strings.ToUpper(m[1])+" "+path] = true
		}
	}
	return k, nil
}

// optional reads a file; one that is missing is empty.
func optional(file string) (string, error) {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return "", nil
	}
	return string(text), err
}
