package pending

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Filter is one simple filter of a list: a condition on one column that Go can
// often decide from a pending row.
type Filter struct {
	Column string
	// Op is in (any of Values), min (≥), max (≤), from (time ≥), to (time <),
	// contains (text, case-insensitive) or has (not null, or null for false).
	Op     string
	Values []any
}

// verdict is what Go knows of a row and a filter. Only no is trusted: SQL
// decides the rest.
type verdict int

const (
	maybe verdict = iota
	no
	yes
)

// judge tests a filter on the JSON of a column; nil is an unknown column.
func (f Filter) judge(v []byte) verdict {
	if v == nil || len(f.Values) == 0 {
		return maybe
	}
	null := bytes.Equal(v, []byte("null"))
	if f.Op == "has" {
		want, ok := f.Values[0].(bool)
		if !ok {
			return maybe
		}
		return verdictOf(want != null)
	}
	if null {
		return no // no comparison with NULL is true
	}
	switch f.Op {
	case "in":
		all := no
		for _, want := range f.Values {
			switch equal(v, want) {
			case yes:
				return yes
			case maybe:
				all = maybe
			}
		}
		return all
	case "min", "max":
		have, err := strconv.ParseFloat(string(v), 64)
		want, ok := toFloat(f.Values[0])
		if err != nil || !ok {
			return maybe
		}
		// Large whole numbers are not exact here: on the limit SQL decides.
		if have == want && (have > 1<<53 || have < -1<<53) {
			return maybe
		}
		return verdictOf(f.Op == "min" && have >= want || f.Op == "max" && have <= want)
	case "from", "to":
		have, ok := jsonTime(v)
		want, ok2 := f.Values[0].(time.Time)
		if !ok || !ok2 {
			return maybe
		}
		return verdictOf(f.Op == "from" && !have.Before(want) || f.Op == "to" && have.Before(want))
	case "contains":
		var have string
		want, ok := f.Values[0].(string)
		// Only plain ASCII folds the same way here and in any database locale.
		if !ok || json.Unmarshal(v, &have) != nil || !ascii(have) || !ascii(want) {
			return maybe
		}
		return verdictOf(strings.Contains(strings.ToLower(have), strings.ToLower(want)))
	}
	return maybe
}

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// equal compares the JSON of a column with a parameter.
func equal(v []byte, want any) verdict {
	switch w := want.(type) {
	case int64:
		return equalInt(v, w)
	case int32:
		return equalInt(v, int64(w))
	case int:
		return equalInt(v, int64(w))
	case bool:
		return verdictOf(string(v) == strconv.FormatBool(w))
	case uuid.UUID:
		return equalString(v, w.String())
	case string:
		return equalString(v, w)
	case fmt.Stringer:
		return equalString(v, w.String())
	}
	return maybe
}

func equalInt(v []byte, want int64) verdict {
	have, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return maybe
	}
	return verdictOf(have == want)
}

func equalString(v []byte, want string) verdict {
	if len(v) < 2 || v[0] != '"' {
		return maybe
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return verdictOf(string(v[1:len(v)-1]) == want)
	}
	var have string
	if json.Unmarshal(v, &have) != nil {
		return maybe
	}
	return verdictOf(have == want)
}

func toFloat(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case int32:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}

// jsonToken is the JSON of a parameter, as it stands in a row's columns; false when
// that cannot be told.
func jsonToken(v any) (string, bool) {
	switch w := v.(type) {
	case nil:
		return "null", true
	case string:
		b, err := json.Marshal(w)
		return string(b), err == nil
	case uuid.UUID:
		return `"` + w.String() + `"`, true
	case *uuid.UUID:
		if w == nil {
			return "null", true
		}
		return jsonToken(*w)
	case int64:
		return strconv.FormatInt(w, 10), true
	case int32:
		return strconv.FormatInt(int64(w), 10), true
	case int:
		return strconv.Itoa(w), true
	case fmt.Stringer:
		return jsonToken(w.String())
	}
	return "", false
}
