package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// CheckDocument lists what in a document breaks the rules for generated clients
// (docs/architecture.md), sorted; none is what a test demands. It looks at the
// document as clients get it.
func CheckDocument(document *huma.OpenAPI) []string {
	text, err := json.Marshal(document)
	if err != nil {
		return []string{"the document cannot be written: " + err.Error()}
	}
	c := checker{ids: map[string]string{}}
	if err := json.Unmarshal(text, &c.doc); err != nil {
		return []string{"the document cannot be read: " + err.Error()}
	}
	c.words("", any(c.doc))
	for name, schema := range c.object(c.doc, "components", "schemas") {
		for _, suffix := range []string{"Body", "Output", "Input", "Request", "Response"} {
			if strings.HasSuffix(name, suffix) {
				c.add("schema %s: ends in %s", name, suffix)
			}
		}
		if name != "" && (name[0] < 'A' || name[0] > 'Z' || strings.ContainsAny(name, ".-_[]")) {
			c.add("schema %s: is no plain CamelCase name", name)
		}
		if m, ok := schema.(map[string]any); ok && m["type"] == nil && m["properties"] == nil {
			c.add("schema %s: has no type", name)
		}
	}
	for path, item := range c.object(c.doc, "paths") {
		operations, ok := item.(map[string]any)
		if !ok {
			continue
		}
		kinds := map[string]map[string]bool{}
		for method, operation := range operations {
			if o, ok := operation.(map[string]any); ok {
				c.operation(strings.ToUpper(method)+" "+path, method, o, kinds)
			}
		}
		for name, formats := range kinds {
			if len(formats) > 1 {
				c.add("%s: the parameter %s is of several types", path, name)
			}
		}
	}
	c.bothWays()
	slices.Sort(c.found)
	return slices.Compact(c.found)
}

type checker struct {
	doc   map[string]any
	ids   map[string]string
	found []string

	requests, responses []any // schemas
}

func (c *checker) add(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// object walks down to an object; a missing one is empty.
func (c *checker) object(v any, path ...string) map[string]any {
	m, _ := v.(map[string]any)
	for _, step := range path {
		m, _ = m[step].(map[string]any)
	}
	return m
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// words finds the keywords that no generator handles well.
func (c *checker) words(at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if name == "oneOf" || name == "anyOf" || name == "allOf" || name == "not" {
				if _, isSchemaName := member.(map[string]any)["type"]; !isSchemaName || name != "not" {
					c.add("%s: uses %s", at, name)
				}
			}
			if name != "example" && name != "examples" && name != "default" && name != "enum" {
				c.words(at+"/"+name, member)
			}
		}
	case []any:
		for i, member := range v {
			c.words(fmt.Sprintf("%s/%d", at, i), member)
		}
	}
}

func (c *checker) operation(at, method string, o map[string]any, kinds map[string]map[string]bool) {
	id, _ := o["operationId"].(string)
	if !operationID.MatchString(id) {
		c.add("%s: the operation id %q is not kebab-case verb-noun", at, id)
	}
	if other, double := c.ids[id]; double {
		c.add("%s: the operation id %s is that of %s too", at, id, other)
	}
	c.ids[id] = at
	if o["summary"] == nil {
		c.add("%s: has no summary", at)
	}
	need, _ := o["x-permission"].(string)
	switch {
	case !validPermission(need):
		c.add("%s: has no permission", at)
	case need == Open && len(list(o["security"])) > 0, need != Open && len(list(o["security"])) == 0:
		c.add("%s: the permission %s does not fit its security", at, need)
	}
	category := false
	for _, tag := range list(o["tags"]) {
		category = category || tag == "operations" || tag == "ui" || tag == "shared"
	}
	if !category {
		c.add("%s: has none of the tags operations, ui, shared", at)
	}
	for _, p := range list(o["parameters"]) {
		c.parameter(at, c.resolve(p), kinds)
	}
	success := map[string]bool{}
	same := map[any]bool{}
	for status, response := range c.object(o, "responses") {
		if strings.HasPrefix(status, "2") {
			same[c.object(response, "content", jsonType, "schema")["$ref"]] = true
		}
	}
	for status, response := range c.object(o, "responses") {
		resolved := c.resolve(response)
		for media, content := range c.object(resolved, "content") {
			schema := c.object(content, "schema")
			switch {
			case strings.HasPrefix(status, "2"):
				success[fmt.Sprint(schema)] = true
				c.responses = append(c.responses, schema)
			case status == "503" && media == jsonType && same[schema["$ref"]]: // Op.SameBody
			case media != "application/problem+json" || schema["$ref"] != schemaPrefix+"Problem":
				c.add("%s: the answer %s is not the shared Problem", at, status)
			}
		}
		for name, header := range c.object(resolved, "headers") {
			if c.object(header)["$ref"] == nil {
				c.add("%s: the header %s is not declared as a component", at, name)
			}
		}
	}
	if len(success) > 1 {
		c.add("%s: has %d schemas of success", at, len(success))
	}
	for media, content := range c.object(o, "requestBody", "content") {
		if media != ndjsonType {
			c.requests = append(c.requests, c.object(content, "schema"))
		}
	}
	if write := method == "post" || method == "put" || method == "patch" || method == "delete"; !write && o["requestBody"] != nil {
		c.add("%s: a read has a body", at)
	}
}

func (c *checker) parameter(at string, p map[string]any, kinds map[string]map[string]bool) {
	name, _ := p["name"].(string)
	schema := c.object(p, "schema")
	switch p["in"] {
	case "path":
		if kinds[name] == nil {
			kinds[name] = map[string]bool{}
		}
		kinds[name][fmt.Sprint(schema["type"], " ", schema["format"])] = true
	case "query":
		if schema["type"] == "array" && p["explode"] != false {
			c.add("%s: the list %s is not explode: false", at, name)
		}
	case "header":
		if p["schema"] == nil {
			c.add("%s: the header %s has no schema", at, name)
		}
	}
}

// resolve follows a reference into the components.
func (c *checker) resolve(v any) map[string]any {
	m := c.object(v)
	if ref, ok := m["$ref"].(string); ok {
		return c.object(c.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return m
}

// bothWays finds schemas that are open where they must be closed, or the reverse,
// and those used in both directions, which can be neither.
func (c *checker) bothWays() {
	requests, responses := map[string]bool{}, map[string]bool{}
	for _, schema := range c.requests {
		c.reach("a request", schema, requests, func(name string, s map[string]any) {
			if s["type"] == "object" && s["properties"] != nil && s["additionalProperties"] != false {
				c.add("schema %s: a request is not closed", name)
			}
		})
	}
	for _, schema := range c.responses {
		c.reach("an answer", schema, responses, func(name string, s map[string]any) {
			if s["additionalProperties"] == false && !requests[name] {
				c.add("schema %s: an answer is closed", name)
			}
			required := list(s["required"])
			for property := range c.object(s, "properties") {
				if !requests[name] && !slices.Contains(required, any(property)) {
					c.add("schema %s: an answer may lack %s", name, property)
				}
			}
		})
	}
	for name := range requests {
		if responses[name] && strings.HasPrefix(name, "#") {
			c.add("schema %s: is used in requests and in answers", strings.TrimPrefix(name, schemaPrefix))
		}
	}
}

// reach visits a schema and all it leads to, each named one once.
func (c *checker) reach(name string, v any, seen map[string]bool, visit func(string, map[string]any)) {
	s := c.object(v)
	if s == nil {
		return
	}
	if ref, ok := s["$ref"].(string); ok {
		if seen[ref] {
			return
		}
		seen[ref] = true
		name, s = ref, c.resolve(s)
	}
	visit(strings.TrimPrefix(name, schemaPrefix), s)
	c.reach(name+"[]", s["items"], seen, visit)
	c.reach(name+"{}", s["additionalProperties"], seen, visit)
	for property, member := range c.object(s, "properties") {
		c.reach(name+"."+property, member, seen, visit)
	}
}
