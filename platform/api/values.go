package api

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Values are the filters one request has set.
type Values struct{ set []value }

type value struct {
	param  *param
	values []any
}

// Condition is one simple filter, decided by a column of the row alone. Its fields
// are those of pending.Filter, so that one converts into the other.
type Condition struct {
	Column string
	Op     string // in, min (≥), max (≤), from (≥ time), to (< time), contains, has
	Values []any  // string, int64, float64, bool, uuid.UUID or time.Time
}

// Any reports whether any filter is set.
func (v Values) Any() bool { return len(v.set) > 0 }

// Simple returns the filters that a row's own columns decide, and whether there are
// others: those only SQL can decide (search, cone, joined columns, flags).
func (v Values) Simple() (conditions []Condition, undecided bool) {
	for _, f := range v.set {
		if f.param.undecided {
			undecided = true
			continue
		}
		conditions = append(conditions, Condition{Column: f.param.column, Op: f.param.op, Values: f.values})
	}
	return conditions, undecided
}

// Get returns the values of one parameter, nil when it is not set.
func (v Values) Get(name string) []any {
	for _, f := range v.set {
		if f.param.name == name {
			return f.values
		}
	}
	return nil
}

// Into fills the fields of a query's parameters, a pointer to an sqlc Params struct,
// by the names in their json tags: the parameter col goes into the field col (a
// slice when it takes several values), col_min, col_max, col_from, col_to, has_col,
// q and so on into theirs (pointers, or plain fields). col_contains holds the text as
// it was given, for strpos(lower(col), lower(@col_contains)); a field col_like gets it
// escaped for ILIKE instead, percent signs around it. Fields that are not set keep
// their value. A filter that has no field is an error: the query would ignore it.
func (v Values) Into(params any) error {
	target := reflect.ValueOf(params)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("filling filters: %T is no pointer to a struct", params)
	}
	target = target.Elem()
	fields := fieldsOf(target.Type())
	for _, f := range v.set {
		name, found := f.param.name, f.values
		index, ok := fields[name]
		if like, there := fields[f.param.column+"_like"]; there && f.param.op == "contains" {
			index, ok = like, true
			text, _ := found[0].(string)
			found = []any{Like(text)}
		}
		if !ok {
			return fmt.Errorf("filling filters: %s has no field for %s", target.Type(), name)
		}
		if err := assign(target.Field(index), found); err != nil {
			return fmt.Errorf("filling filters: %s: %w", name, err)
		}
	}
	return nil
}

// Fits reports which parameters of the filters have no field in a Params struct:
// a module's test calls it, so that no filter is forgotten in a query.
func (fs *Filters) Fits(params any) error {
	fields := fieldsOf(reflect.TypeOf(params))
	var missing []string
	for _, p := range fs.params {
		_, ok := fields[p.name]
		if p.op == "contains" && !ok {
			_, ok = fields[p.column+"_like"]
		}
		if !ok {
			missing = append(missing, p.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%T has no field for the filters %s", params, strings.Join(missing, ", "))
	}
	return nil
}

// Like returns a pattern for ILIKE that finds text anywhere, with % and _ standing
// for themselves.
func Like(text string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
}

var fieldCache sync.Map // reflect.Type -> map[string]int

func fieldsOf(t reflect.Type) map[string]int {
	if known, ok := fieldCache.Load(t); ok {
		if fields, ok := known.(map[string]int); ok {
			return fields
		}
	}
	fields := map[string]int{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && t.Field(i).IsExported() {
			fields[name] = i
		}
	}
	fieldCache.Store(t, fields)
	return fields
}

func assign(field reflect.Value, values []any) error {
	switch {
	case field.Kind() == reflect.Slice:
		list := reflect.MakeSlice(field.Type(), len(values), len(values))
		for i, v := range values {
			if err := put(list.Index(i), v); err != nil {
				return err
			}
		}
		field.Set(list)
		return nil
	case len(values) != 1:
		return fmt.Errorf("%d values for a field of one", len(values))
	case field.Kind() == reflect.Pointer:
		target := reflect.New(field.Type().Elem())
		if err := put(target.Elem(), values[0]); err != nil {
			return err
		}
		field.Set(target)
		return nil
	}
	return put(field, values[0])
}

func put(field reflect.Value, v any) error {
	from := reflect.ValueOf(v)
	switch {
	case from.Type().AssignableTo(field.Type()):
		field.Set(from)
	case from.Kind() == reflect.Int64 && field.CanInt() && !field.OverflowInt(from.Int()):
		field.SetInt(from.Int())
	case from.Kind() == reflect.Float64 && field.CanFloat():
		field.SetFloat(from.Float())
	case from.Kind() == reflect.Int64 && field.CanFloat():
		field.SetFloat(float64(from.Int()))
	case from.Kind() == field.Kind() && from.CanConvert(field.Type()):
		field.Set(from.Convert(field.Type()))
	case from.Kind() == reflect.Bool && field.Kind() == reflect.Interface:
		field.Set(from)
	default:
		return fmt.Errorf("%s does not fit into %s", from.Type(), field.Type())
	}
	return nil
}
