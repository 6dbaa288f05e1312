package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opsdb/opsdb/platform/problem"
)

// ReadBody reads JSON that is not the body of its own request as the body of one that
// takes a T: with every check that such a request's body gets, and times in UTC to the
// microsecond. Faults are told with their location below location.
func ReadBody[T any](location string, data json.RawMessage) (*T, error) {
	var read struct{ Body T }
	st := &state{}
	below := func(at string) string { return location + strings.TrimPrefix(at, "body") }
	if err := checkJSON(data, func(at string, value any, message string) { st.fault(below(at), value, message) }); err != nil {
		return nil, problem.Malformed.Field(location, nil, "it is not valid JSON: %v", err)
	}
	var value any
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&value); err != nil {
		return nil, problem.Malformed.Field(location, nil, "it is not valid JSON")
	}
	schemas := newRegistry()
	path := huma.NewPathBuffer(nil, 0)
	path.Push(location)
	var found huma.ValidateResult
	huma.Validate(schemas, schemas.Schema(reflect.TypeFor[T](), true, ""), path, huma.ModeWriteToServer, value, &found)
	p := problem.Invalid.New("the request is not valid")
	for _, err := range found.Errors {
		addError(p, err)
	}
	if len(found.Errors) == 0 {
		if err := json.Unmarshal(data, &read.Body); err != nil {
			return nil, problem.Invalid.Field(location, nil, "it cannot be read: %v", err)
		}
		planOf(reflect.TypeOf(read)).normalise(reflect.ValueOf(&read).Elem(), st)
		for i := range st.faults {
			if at := st.faults[i].location; strings.HasPrefix(at, "body") {
				st.faults[i].location = below(at)
			}
		}
	}
	if len(found.Errors) > 0 || st.count > 0 {
		return nil, st.refuse(p)
	}
	return &read.Body, nil
}
