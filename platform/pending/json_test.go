package pending

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzEachField holds the scanner against encoding/json: on what is valid they
// agree, on the rest the scanner neither panics nor reads beyond the end.
func FuzzEachField(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":"x\"}","b":[1,{"c":null}],"d":true}`, `{"a":`, `{"a" 1}`, `{"a":1,}`, `[1,2]`, ` { "a" : -1.5e3 , "b":"" } `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := map[string]string{}
		err := eachField(inside(b), func(name, v []byte) error {
			var key string
			if json.Unmarshal(append(append([]byte{'"'}, name...), '"'), &key) == nil {
				got[key] = string(bytes.TrimSpace(v))
			}
			return nil
		})
		var want map[string]json.RawMessage
		if !json.Valid(b) || json.Unmarshal(b, &want) != nil || want == nil {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		for k, v := range want {
			if got[k] != string(bytes.TrimSpace(v)) {
				t.Errorf("%s: %s is %s, want %s", b, k, got[k], v)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d members, want %d", b, len(got), len(want))
		}
	})
}

// FuzzDecode reads whatever Redis may hold without a panic.
func FuzzDecode(f *testing.F) {
	h, b, err := encode(&Transaction{ID: newID(), Operation: "x", Steps: []Step{{"k/1", json.RawMessage(`{"a":[1]}`)}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(h, b)
	f.Add([]byte(`"id":1`), []byte(`"steps":[{"kind":1}]`))
	f.Fuzz(func(t *testing.T, h, b []byte) {
		if x, err := decode(1, h, b); err == nil && x == nil {
			t.Error("neither a transaction nor an error")
		}
	})
}

func FuzzDeadLetter(f *testing.F) {
	f.Add(`0|0|{}`)
	f.Add(`7|1784070000000000|`)
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := deadLetter(s); ok != (d != nil) {
			t.Errorf("%q: %v, %v", s, d, ok)
		}
	})
}
