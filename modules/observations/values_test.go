package observations

import (
	"encoding/json"
	"testing"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
)

func TestMergePatchFollowsTheRFC(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ under, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":"b"}`, `{"a":{"b":{"c":null}}}`, `{"a":{"b":{}}}`},
		{`{"e":null}`, `{"a":1.50}`, `{"a":1.50,"e":null}`},
		{`{"a":1}`, `null`, `{}`},
		{``, `{"a":1}`, `{"a":1}`},
	} {
		got, err := mergePatch(json.RawMessage(c.under), json.RawMessage(c.patch))
		if err != nil || string(got) != c.want {
			t.Errorf("%s patched with %s: got %s, %v, want %s", c.under, c.patch, got, err, c.want)
		}
	}
}

func TestVersionsIgnoreHowJSONIsWritten(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{`{"b": 1e2, "a": [1.50, -0.0]}`, `{"a":[1.5,0],"b":100}`},
		{`{"x": 0.000120e3}`, `{"x": 0.12}`},
		{`{"long name": "ä", "z": true}`, `{"z":true,"long name":"\u00e4"}`},
		{`{"n": 12345678901234567890123}`, `{"n": 12345678901234567890123.0}`},
	} {
		if a, b := string(canonical(json.RawMessage(pair[0]))), string(canonical(json.RawMessage(pair[1]))); a != b {
			t.Errorf("%s and %s differ: %s, %s", pair[0], pair[1], a, b)
		}
	}
	for _, pair := range [][2]string{{`{"a":1}`, `{"a":10}`}, {`{"a":"1"}`, `{"a":"2"}`}, {`{"a":-1}`, `{"a":1}`}, {`{"a":"1e0"}`, `{"a":1}`}, {`{"a":0.1}`, `{"a":0.01}`}} {
		if a, b := string(canonical(json.RawMessage(pair[0]))), string(canonical(json.RawMessage(pair[1]))); a == b {
			t.Errorf("%s and %s are the same: %s", pair[0], pair[1], a)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"a": 1e2}`))
	f.Add([]byte(`[-0.00, 1E-7, "x"]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		once := canonical(raw)
		if json.Valid(raw) && !json.Valid(once) {
			t.Errorf("%s became %s", raw, once)
		}
	})
}

// A filter that no query knows would be an error of every request that uses it.
func TestEveryFilterIsInBothQueries(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		executionFilters.Fits(db.ListExecutedObsUnitsParams{}), executionFilters.Fits(db.CountExecutedObsUnitsParams{}),
		unitFilters.Fits(db.ListExecutedObsUnitsParams{}), unitFilters.Fits(db.CountExecutedObsUnitsParams{}),
		fileFilters.Fits(db.ListRawDataFilesParams{}), fileFilters.Fits(db.CountRawDataFilesParams{}),
		packageFilters.Fits(db.ListRawDataPackagesParams{}), packageFilters.Fits(db.CountRawDataPackagesParams{}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}
