package observations

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

// version is what a client says about the version it wants to change.
type version struct{ api.IfMatch }

func (v version) given() bool { return v.Given() }

// check compares the client's version with that of the record as it is now. A
// record that cannot be read cannot be compared.
func (v version) check(whole bool, etag string) error {
	switch {
	case !v.given():
		return nil
	case !whole:
		return problem.ReplicaUnreachable.New("the replica is needed to compare versions and cannot be read now")
	}
	return v.Match(etag)
}

// mergePatch lays a JSON merge patch (RFC 7396) over an object. Numbers and texts
// stay as they are written.
func mergePatch(under, patch json.RawMessage) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(patch, &members) != nil || members == nil {
		if isNull(patch) {
			return json.RawMessage("{}"), nil
		}
		return patch, nil
	}
	merged := map[string]json.RawMessage{}
	if len(under) > 0 && json.Unmarshal(under, &merged) != nil || merged == nil {
		merged = map[string]json.RawMessage{}
	}
	for name, value := range members {
		if isNull(value) {
			delete(merged, name)
			continue
		}
		if bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) {
			inner, err := mergePatch(merged[name], value)
			if err != nil {
				return nil, err
			}
			value = inner
		}
		merged[name] = value
	}
	out, err := json.Marshal(merged)
	if err != nil {
		return nil, fmt.Errorf("merging a patch: %w", err)
	}
	return out, nil
}

func isNull(raw json.RawMessage) bool {
	trimmed := bytes.TrimSpace(raw)
	return len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null"))
}

// canonical gives free JSON in one form, whether it comes from a client or from
// jsonb, which orders members and writes numbers in its own way: the version of a
// record must not depend on that.
func canonical(raw json.RawMessage) json.RawMessage {
	if len(raw) <= len("{}") {
		return raw
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	if dec.Decode(&value) != nil {
		return raw
	}
	out, err := json.Marshal(plainNumbers(value))
	if err != nil {
		return raw
	}
	return out
}

func plainNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		return json.Number(plainNumber(string(v)))
	case map[string]any:
		for name, member := range v {
			v[name] = plainNumbers(member)
		}
	case []any:
		for i, item := range v {
			v[i] = plainNumbers(item)
		}
	}
	return value
}

// plainNumber writes a decimal number as its digits and a power of ten, so that
// 1e2, 100 and 100.0 are the same.
func plainNumber(text string) string {
	mantissa, power := strings.ToLower(text), 0
	if at := strings.IndexByte(mantissa, 'e'); at >= 0 {
		n, err := strconv.Atoi(mantissa[at+1:])
		if err != nil {
			return text
		}
		mantissa, power = mantissa[:at], n
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	power -= len(fraction)
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	return fmt.Sprintf("%s%se%d", sign, short, power+len(digits)-len(short))
}
