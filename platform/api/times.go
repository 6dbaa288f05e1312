package api

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// plan is where times lie in an input type, found once at registration. Times are
// decided at the door: in UTC, to the microsecond, in the range PostgreSQL and
// RFC 3339 share.
type plan struct {
	paths []timePath
}

type timePath struct {
	steps []int // field indices; each means "into every item"
	names []string
}

const each = -1

// timePlan finds the times of a type: fields, nested structs, slices and Optional.
func timePlan(t reflect.Type) plan {
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
		p.paths = append(p.paths, timePath{append([]int{}, steps...), append([]string{}, names...)})
	case t.Kind() == reflect.Slice:
		p.find(t.Elem(), append(steps, each), append(names, "[]"), depth+1)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				continue
			}
			name := fieldName(f)
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

func (tp timePath) walk(v reflect.Value, steps []int, indices []int, st *state) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if len(steps) == 0 {
		t, ok := v.Interface().(time.Time)
		if !ok || t.IsZero() {
			return
		}
		t = t.UTC().Truncate(time.Microsecond)
		if year := t.Year(); year < 1 || year > 9999 {
			st.fault(tp.location(indices), nil, "the year in UTC is not between 0001 and 9999")
		}
		v.Set(reflect.ValueOf(t))
		return
	}
	if steps[0] != each {
		tp.walk(v.Field(steps[0]), steps[1:], indices, st)
		return
	}
	for i := range v.Len() {
		tp.walk(v.Index(i), steps[1:], append(indices, i), st)
	}
}

// location rebuilds the place of a time from the names on its path and the indices
// of the items it goes through.
func (tp timePath) location(indices []int) string {
	var b strings.Builder
	for _, name := range tp.names {
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
