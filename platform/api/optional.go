package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Optional is a member of a merge patch, which tells three things apart: absent
// leaves the field as it is, null clears it, a value replaces it. Tag it
// `json:"comment,omitzero"`, and `nullable:"false"` where null makes no sense.
type Optional[T any] struct {
	Set   bool // the member was there
	Null  bool // and it was null
	Value T
}

// Some returns an Optional that is set to v.
func Some[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: v} }

// Null returns an Optional that clears its field.
func Null[T any]() Optional[T] { return Optional[T]{Set: true, Null: true} }

// Ptr returns the new value; nil when the field is cleared, and also when the
// member was absent: look at Set first.
func (o Optional[T]) Ptr() *T {
	if !o.Set || o.Null {
		return nil
	}
	return &o.Value
}

// Or returns what the field becomes when it is old now.
func (o Optional[T]) Or(old *T) *T {
	if !o.Set {
		return old
	}
	return o.Ptr()
}

func (o Optional[T]) cleared() bool { return o.Set && o.Null }

// IsZero reports whether the member is absent, so that omitzero leaves it out.
func (o Optional[T]) IsZero() bool { return !o.Set }

// UnmarshalJSON implements json.Unmarshaler.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	*o = Optional[T]{Set: true}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(data, &o.Value)
}

// MarshalJSON implements json.Marshaler.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Set || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// Schema implements huma.SchemaProvider: the schema of T, or null.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := r.Schema(reflect.TypeFor[T](), true, "")
	if s.Ref != "" {
		inline := *r.SchemaFromRef(s.Ref)
		s = &inline
	}
	nullable := *s
	nullable.Nullable = true
	return &nullable
}

// formats are how bodies are read and answers written: JSON only. Numbers are kept
// as text until they are known to fit, so that a large one in free JSON is no error.
var formats = map[string]huma.Format{
	"application/json": {Marshal: writeJSON, Unmarshal: readJSON},
	"json":             {Marshal: writeJSON, Unmarshal: readJSON},
}

var writeJSON = huma.DefaultJSONFormat.Marshal

func readJSON(data []byte, v any) error {
	generic, ok := v.(*any)
	if !ok {
		return explain(json.Unmarshal(data, v))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var parsed any
	if err := dec.Decode(&parsed); err != nil {
		return err
	}
	*generic = floats(parsed)
	return nil
}

// floats turns numbers into float64, which is what huma's validation compares
// fastest; one that has no float64 stays text, and only free JSON takes it.
func floats(v any) any {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	case map[string]any:
		for key, member := range v {
			v[key] = floats(member)
		}
	case []any:
		for i, item := range v {
			v[i] = floats(item)
		}
	}
	return v
}

// explain says what a value that passed validation and fits no field is, in the
// words of the API instead of Go's.
func explain(err error) error {
	wrong, ok := err.(*json.UnmarshalTypeError)
	if !ok {
		return err
	}
	return fmt.Errorf("%s: the %s is out of range or not of the type of this member", wrong.Field, wrong.Value)
}

// Or gives what a pointer points to, or what is meant when there is none.
func Or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
