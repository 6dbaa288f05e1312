package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

const schemaPrefix = "#/components/schemas/"

var (
	timeType        = reflect.TypeFor[time.Time]()
	uuidType        = reflect.TypeFor[uuid.UUID]()
	rawType         = reflect.TypeFor[json.RawMessage]()
	providerType    = reflect.TypeFor[huma.SchemaProvider]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func init() {
	huma.DefaultArrayNullable = false
	// A member whose name differs in case would pass validation and then be
	// matched by encoding/json: names are exact here.
	huma.ValidateStrictCasing = true
}

// registry names and keeps the schemas of the document. huma's own ignores the
// package of a type when it names it, tells types of one name apart only sometimes,
// and cannot say that an object may be null.
type registry struct {
	schemas map[string]*huma.Schema
	types   map[string]reflect.Type
	aliases map[reflect.Type]reflect.Type
	top     []reflect.Type // types of bodies, whose pointers do not mean null
	open    []reflect.Type // structs being described, innermost last
}

func newRegistry() *registry {
	return &registry{
		schemas: map[string]*huma.Schema{},
		types:   map[string]reflect.Type{},
		aliases: map[reflect.Type]reflect.Type{},
	}
}

// Schema implements huma.Registry.
func (g *registry) Schema(t reflect.Type, allowRef bool, hint string) *huma.Schema {
	pointer := t.Kind() == reflect.Pointer
	base := t
	for base.Kind() == reflect.Pointer {
		base = base.Elem()
	}
	if alias, ok := g.aliases[base]; ok {
		return g.Schema(alias, allowRef, hint)
	}
	switch base {
	case uuidType:
		return uuidSchema(pointer)
	case rawType:
		// Free JSON. A pointer to it, or a nullable tag, says that null is possible.
		s := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Nullable: pointer}
		s.PrecomputeMessages()
		return s
	}
	if !named(base) {
		return bounded(base, huma.SchemaFromType(g, t))
	}

	name := schemaName(base, hint)
	if known, ok := g.types[name]; ok && known != base {
		panic(fmt.Sprintf("api: two types want the schema name %s: %s and %s", name, known, base))
	}
	if _, known := g.schemas[name]; !known {
		g.types[name] = base
		g.schemas[name] = &huma.Schema{}
		g.open = append(g.open, base)
		*g.schemas[name] = *huma.SchemaFromType(g, base)
		g.open = g.open[:len(g.open)-1]
	}
	// A member that may be null is described in place: a reference cannot be
	// nullable without anyOf. A type inside itself stays a reference.
	if pointer && allowRef && len(g.open) > 0 && !slices.Contains(g.open, base) && !slices.Contains(g.top, t) {
		inline := *g.schemas[name]
		inline.Nullable = true
		return &inline
	}
	if allowRef {
		return &huma.Schema{Ref: schemaPrefix + name}
	}
	return g.schemas[name]
}

// notUUID is what the API says of text that is no UUID, wherever it stands.
const notUUID = "must be a UUID of 36 characters, with hyphens"

// uuidSchema describes a UUID in its one form: the format takes URNs, braces and bare
// digits too. The pattern that refuses them is compiled and then taken out again, for
// generated clients would apply it to a value that is no text any more.
func uuidSchema(nullable bool) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Format: "uuid", Nullable: nullable, Pattern: `^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`, PatternDescription: "a UUID"}
	s.PrecomputeMessages()
	s.Pattern, s.PatternDescription = "", ""
	return s
}

// named reports whether a type gets a schema of its own in the components.
func named(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t == timeType {
		return false
	}
	p := reflect.PointerTo(t)
	return !p.Implements(providerType) && !p.Implements(unmarshalerType)
}

// bounded adds the range of narrow integers: huma cuts a parameter that is too
// large for its field without a word.
func bounded(t reflect.Type, s *huma.Schema) *huma.Schema {
	var low, high float64
	switch t.Kind() {
	case reflect.Int8:
		low, high = -1<<7, 1<<7-1
	case reflect.Int16:
		low, high = -1<<15, 1<<15-1
	case reflect.Int32:
		low, high = -1<<31, 1<<31-1
	default:
		return s
	}
	s.Minimum, s.Maximum = &low, &high
	s.PrecomputeMessages()
	return s
}

// schemaName returns the type's own name: no package, pages after their item
// (Page[ExecutedObsUnit] is ExecutedObsUnitPage), other generics joined. A type
// without a name cannot be given a stable one.
func schemaName(t reflect.Type, hint string) string {
	name := t.Name()
	if name == "" {
		panic(fmt.Sprintf("api: give the type of %s a name: %s", hint, t))
	}
	outer, inner, generic := strings.Cut(name, "[")
	if !generic {
		return name
	}
	var parts []string
	for _, part := range strings.FieldsFunc(inner, func(c rune) bool { return strings.ContainsRune("[],*", c) }) {
		part = part[strings.LastIndex(part, ".")+1:]
		parts = append(parts, strings.ToUpper(part[:1])+part[1:])
	}
	return strings.Join(parts, "") + outer
}

// SchemaFromRef implements huma.Registry.
func (g *registry) SchemaFromRef(ref string) *huma.Schema {
	return g.schemas[strings.TrimPrefix(ref, schemaPrefix)]
}

// TypeFromRef implements huma.Registry.
func (g *registry) TypeFromRef(ref string) reflect.Type {
	return g.types[strings.TrimPrefix(ref, schemaPrefix)]
}

// Map implements huma.Registry.
func (g *registry) Map() map[string]*huma.Schema { return g.schemas }

// RegisterTypeAlias implements huma.Registry.
func (g *registry) RegisterTypeAlias(t, alias reflect.Type) { g.aliases[t] = alias }

// MarshalJSON writes the schemas as the components of a document.
func (g *registry) MarshalJSON() ([]byte, error) { return json.Marshal(g.schemas) }

// MarshalYAML writes the schemas as the components of a document.
func (g *registry) MarshalYAML() (any, error) { return g.schemas, nil }
