package api

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// maxChoices is how many values one parameter may list.
const maxChoices = 1000

// Filters are the query parameters of one resource's lists, declared once from its
// columns. NewFilters checks them, Op.Filters puts them into an operation.
type Filters struct {
	params []*param
	byName map[string]*param
}

// Filter declares what can be asked of one column. Make one with Enum, Int, UUID
// and the like.
type Filter struct {
	column string
	params []*param
}

// param is one query parameter.
type param struct {
	name      string
	column    string
	op        string // as Condition.Op
	list      bool
	undecided bool
	schema    huma.Schema // of one value
	doc       string
	parse     func(string) (any, string)
}

func one(column string, params ...*param) Filter {
	for _, p := range params {
		p.column = column
	}
	return Filter{column: column, params: params}
}

// Enum is a column with a fixed set of words: col=a,b.
func Enum(column string, words ...string) Filter {
	schema := huma.Schema{Type: huma.TypeString}
	for _, word := range words {
		schema.Enum = append(schema.Enum, word)
	}
	return one(column, &param{name: column, op: "in", list: true, schema: schema, doc: "Any of these.", parse: func(s string) (any, string) {
		for _, word := range words {
			if s == word {
				return s, ""
			}
		}
		return nil, "must be one of " + strings.Join(words, ", ")
	}})
}

// String is a text column that is compared as a whole: col=a,b.
func String(column string) Filter {
	return one(column, &param{name: column, op: "in", list: true, schema: huma.Schema{Type: huma.TypeString}, doc: "Exactly one of these.", parse: parseText})
}

// Int is an integer column that is compared for equality, such as an id: col=1,2.
func Int(column string) Filter {
	return one(column, &param{name: column, op: "in", list: true, schema: huma.Schema{Type: huma.TypeInteger, Format: "int64"}, doc: "Any of these.", parse: parseInt})
}

// UUID is a column with UUIDs: col=a,b.
func UUID(column string) Filter {
	return one(column, &param{name: column, op: "in", list: true, schema: huma.Schema{Type: huma.TypeString, Format: "uuid"}, doc: "Any of these.", parse: parseUUID})
}

// Range is an integer column with bounds: col=1,2, col_min (≥), col_max (≤).
func Range(column string) Filter {
	schema := huma.Schema{Type: huma.TypeInteger, Format: "int64"}
	return one(column,
		&param{name: column, op: "in", list: true, schema: schema, doc: "Any of these.", parse: parseInt},
		&param{name: column + "_min", op: "min", schema: schema, doc: "At least this.", parse: parseInt},
		&param{name: column + "_max", op: "max", schema: schema, doc: "At most this.", parse: parseInt})
}

// Number is a floating-point column: col_min (≥), col_max (≤).
func Number(column string) Filter {
	schema := huma.Schema{Type: huma.TypeNumber, Format: "double"}
	return one(column,
		&param{name: column + "_min", op: "min", schema: schema, doc: "At least this.", parse: parseNumber},
		&param{name: column + "_max", op: "max", schema: schema, doc: "At most this.", parse: parseNumber})
}

// Time is a column with times: col_from (≥), col_to (<).
func Time(column string) Filter {
	schema := huma.Schema{Type: huma.TypeString, Format: "date-time"}
	return one(column,
		&param{name: column + "_from", op: "from", schema: schema, doc: "At this time or later.", parse: parseTime},
		&param{name: column + "_to", op: "to", schema: schema, doc: "Before this time.", parse: parseTime})
}

// Text is a column that is searched in: col_contains, in any case, with % and _
// standing for themselves.
func Text(column string) Filter {
	length := 500
	schema := huma.Schema{Type: huma.TypeString, MaxLength: &length}
	return one(column, &param{name: column + "_contains", op: "contains", schema: schema, doc: "Contains this text, in upper or lower case.", parse: parseText})
}

// Flag is a yes-or-no question of its own, such as unpackaged.
func Flag(name string) Filter {
	return one(name, &param{name: name, op: "flag", undecided: true, schema: huma.Schema{Type: huma.TypeBoolean}, parse: parseBool})
}

// Search is free text over several columns: q. SQL alone decides it.
func Search() Filter {
	length := 500
	return one("q", &param{name: "q", op: "q", undecided: true, schema: huma.Schema{Type: huma.TypeString, MaxLength: &length}, doc: "Free text.", parse: parseText})
}

// Cone is a circle on the sky: ra, dec and radius_deg, all three or none, in
// degrees (ICRS). SQL alone decides it.
func Cone() Filter {
	degrees := func(name, doc string, low, high float64) *param {
		return &param{name: name, op: "cone", undecided: true, doc: doc,
			schema: huma.Schema{Type: huma.TypeNumber, Format: "double", Minimum: &low, Maximum: &high},
			parse: func(s string) (any, string) {
				v, message := parseNumber(s)
				if f, ok := v.(float64); ok && (f < low || f > high) {
					return nil, fmt.Sprintf("must be between %g and %g degrees", low, high)
				}
				return v, message
			}}
	}
	return one("cone",
		degrees("ra", "Right ascension of the centre, degrees.", 0, 360),
		degrees("dec", "Declination of the centre, degrees.", -90, 90),
		degrees("radius_deg", "Radius, degrees.", 0, 180))
}

// Nullable adds has_col=true|false to a filter of a column that may be null.
func Nullable(f Filter) Filter {
	f.params = append(f.params, &param{name: "has_" + f.column, column: f.column, op: "has", schema: huma.Schema{Type: huma.TypeBoolean},
		doc: "true: the record has a value here; false: it has none.", parse: parseBool})
	return f
}

// Joined marks a filter on a column of another table: SQL alone decides it.
func Joined(f Filter) Filter {
	for _, p := range f.params {
		p.undecided = true
	}
	return f
}

// Doc says what the column means, for the document.
func (f Filter) Doc(text string) Filter {
	for _, p := range f.params {
		p.doc = strings.TrimSpace(text + " " + p.doc)
	}
	return f
}

// NewFilters joins the filters of a resource. Two parameters of one name, or one
// that lists reserve for themselves, panic: filters are fixed at compile time.
func NewFilters(filters ...Filter) *Filters {
	set := &Filters{byName: map[string]*param{}}
	for _, f := range filters {
		for _, p := range f.params {
			if _, double := set.byName[p.name]; double || p.name == "limit" || p.name == "cursor" || p.name == "count" || p.name == "format" {
				panic("api: the filter parameter " + p.name + " is taken")
			}
			set.byName[p.name] = p
			set.params = append(set.params, p)
		}
	}
	return set
}

// document returns the parameters as the document lists them.
func (fs *Filters) document() []*huma.Param {
	var out []*huma.Param
	for _, p := range fs.params {
		schema := p.schema
		described := &huma.Param{Name: p.name, In: "query", Description: p.doc, Schema: &schema}
		if p.list {
			most, off := maxChoices, false
			described.Schema = &huma.Schema{Type: huma.TypeArray, Items: &schema, MaxItems: &most}
			described.Explode, described.Style = &off, "form"
		}
		out = append(out, described)
	}
	return out
}

// parse reads the filters of a request; what is wrong is noted in st.
func (fs *Filters) parse(query url.Values, st *state) Values {
	var values Values
	cone := 0
	for _, p := range fs.params {
		given, there := query[p.name]
		if !there || given[0] == "" {
			continue
		}
		if p.op == "cone" {
			cone++
		}
		texts := []string{given[0]}
		if p.list {
			texts = strings.Split(given[0], ",")
		}
		location := "query." + p.name
		if len(texts) > maxChoices {
			st.fault(location, nil, fmt.Sprintf("lists more than %d values", maxChoices))
			continue
		}
		found := make([]any, 0, len(texts))
		for _, text := range texts {
			v, message := p.parse(text)
			if message != "" {
				st.fault(location, text, message)
				continue
			}
			found = append(found, v)
		}
		values.set = append(values.set, value{p, found})
	}
	if cone > 0 && cone < 3 {
		st.fault("query.radius_deg", nil, "ra, dec and radius_deg belong together: give all three")
	}
	return values
}

func parseText(s string) (any, string) {
	switch {
	case s == "":
		return nil, "must not be empty"
	case utf8.RuneCountInString(s) > 500:
		return nil, "is longer than 500 characters"
	}
	// NUL and invalid UTF-8 are refused for every parameter alike.
	return s, ""
}

func parseInt(s string) (any, string) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, "must be an integer of at most 64 bits"
	}
	return n, ""
}

func parseNumber(s string) (any, string) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(s, "xX_") {
		return nil, "must be a finite number"
	}
	return f, ""
}

func parseUUID(s string) (any, string) {
	id, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return nil, notUUID
	}
	return id, ""
}

func parseBool(s string) (any, string) {
	switch s {
	case "true":
		return true, ""
	case "false":
		return false, ""
	}
	return nil, "must be true or false"
}

// parseTime reads RFC 3339. A plus that was not escaped arrives as a space, which
// no valid time has in that place.
func parseTime(s string) (any, string) {
	if i := strings.LastIndexByte(s, ' '); i > 10 {
		s = s[:i] + "+" + s[i+1:]
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return nil, "must be a time like 2026-07-15T04:00:00Z"
	}
	t = t.UTC().Truncate(time.Microsecond)
	if t.Year() < 1 || t.Year() > 9999 {
		return nil, "must lie in the years 0001 to 9999"
	}
	return t, ""
}
