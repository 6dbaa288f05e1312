package api

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// plan is what is left to check in an input once it is decoded, found in its type at
// registration. Times are decided at the door: in UTC, to the microsecond, in the
// range PostgreSQL and RFC 3339 share. And huma takes null for any member that may
// be absent, which would clear a field of a merge patch that must not be null.
type plan struct {
	paths []fieldPath
}

type fieldPath struct {
	steps []int // field indices; each means "into every item"
	names []string
}

const each = -1

// clearable is an Optional of any type.
type clearable interface{ cleared() bool }

var clearableType = reflect.TypeFor[clearable]()

// planOf finds the times of a type: fields, nested structs, slices and Optional.
func planOf(t reflect.Type) plan {
	var p plan
	if t.Kind() == reflect.Struct {
		p.find(t, nil, nil, 0)
	}
	return p
}

func (p *plan) find(t reflect.Type, steps []int, names []string, depth int) {
	if depth > 8 {
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == timeType:
		p.paths = append(p.paths, fieldPath{append([]int{}, steps...), append([]string{}, names...)})
	case t.Kind() == reflect.Slice:
		p.find(t.Elem(), append(steps, each), append(names, "[]"), depth+1)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				continue
			}
			name := fieldName(f)
			if f.Type.Implements(clearableType) && f.Tag.Get("nullable") == "false" {
				p.paths = append(p.paths, fieldPath{append(append([]int{}, steps...), i), append(append([]string{}, names...), name)})
			}
			if f.Anonymous || (strings.HasPrefix(t.Name(), "Optional[") && f.Name == "Value") {
				p.find(f.Type, append(steps, i), names, depth+1)
			} else {
				p.find(f.Type, append(steps, i), append(names, name), depth+1)
			}
		}
	}
}

// fieldName is how the location of a field reads: query.x, path.x, header.x, and
// body.x or x within the body.
func fieldName(f reflect.StructField) string {
	for _, in := range []string{"path", "query", "header"} {
		if tag := f.Tag.Get(in); tag != "" {
			name, _, _ := strings.Cut(tag, ",")
			return in + "." + name
		}
	}
	if f.Name == "Body" {
		return "body"
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return f.Name
	}
	return name
}

// normalise brings all times of an input into shape and notes those out of range.
func (p plan) normalise(in reflect.Value, st *state) {
	for _, path := range p.paths {
		path.walk(in, path.steps, nil, st)
	}
}

func (fp fieldPath) walk(v reflect.Value, steps []int, indices []int, st *state) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if len(steps) == 0 {
		if c, ok := v.Interface().(clearable); ok {
			if c.cleared() {
				st.fault(fp.location(indices), nil, "must not be null")
			}
			return
		}
		t, ok := v.Interface().(time.Time)
		if !ok || t.IsZero() {
			return
		}
		t = t.UTC().Truncate(time.Microsecond)
		if year := t.Year(); year < 1 || year > 9999 {
			st.fault(fp.location(indices), nil, "the year in UTC is not between 0001 and 9999")
		}
		v.Set(reflect.ValueOf(t))
		return
	}
	if steps[0] != each {
		fp.walk(v.Field(steps[0]), steps[1:], indices, st)
		return
	}
	for i := range v.Len() {
		fp.walk(v.Index(i), steps[1:], append(indices, i), st)
	}
}

// location rebuilds the place of a time from the names on its path and the indices
// of the items it goes through.
func (fp fieldPath) location(indices []int) string {
	var b strings.Builder
	for _, name := range fp.names {
		if name == "[]" {
			fmt.Fprintf(&b, "[%d]", indices[0])
			indices = indices[1:]
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}
