package observations

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

// What is refused at the door, before a write can be buffered: nobody could correct
// it later, and the programs that read a record take it as it is.

const (
	maxIndexed = 2048      // bytes of a text that an index of the database takes
	maxFree    = 256 << 10 // bytes of free JSON: a row with more cannot cross a slow line in time
)

// pathFault says what is wrong with a path below a data location, or "". Each path
// has one spelling, so that no file can be registered twice or lie elsewhere.
func pathFault(path string) string {
	if message := textFault(path); message != "" {
		return message
	}
	if strings.HasPrefix(path, "/") {
		return "it is absolute; a path is relative to its data location"
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			return "it has an empty segment, or a slash at its end"
		case ".", "..":
			return fmt.Sprintf("it has the segment %q", segment)
		}
	}
	return ""
}

// nameFault says what is wrong with a name that is one segment of a path, or "".
func nameFault(name string) string {
	switch message := textFault(name); {
	case message != "":
		return message
	case name == "." || name == "..":
		return "it names a directory"
	case strings.Contains(name, "/"):
		return "it has a slash; a name is the last segment of a path"
	}
	return ""
}

// textFault says why no path or name can hold a text, or "".
func textFault(text string) string {
	switch {
	case text == "":
		return "it is empty"
	case len(text) > maxIndexed:
		return fmt.Sprintf("it has %d bytes, the limit is %d", len(text), maxIndexed)
	case strings.Contains(text, `\`):
		return "it has a backslash"
	case strings.ContainsFunc(text, unicode.IsControl):
		return "it has a control character"
	}
	return ""
}

// digits are how many hexadecimal digits the checksums of an algorithm have.
var digits = map[string]int{"xxh64": 16, "sha256": 64}

// checksumFault says what is wrong with a checksum, or "". Spelling it in lower case
// is up to the caller.
func checksumFault(algorithm, checksum string) string {
	want := digits[algorithm]
	if len(checksum) != want || strings.Trim(checksum, "0123456789abcdefABCDEF") != "" {
		return fmt.Sprintf("a checksum of %s has %d hexadecimal digits", algorithm, want)
	}
	return ""
}

// freeFault says what is wrong with free JSON, or "".
func freeFault(free json.RawMessage) string {
	if size := api.StoredSize(free); size > maxFree {
		return fmt.Sprintf("it has %d bytes of JSON with its numbers written out, the limit is %d", size, maxFree)
	}
	return ""
}

// checkFree refuses free JSON that is too large. A merge patch is checked before and
// after it is merged: neither may be what a slow line has to carry.
func checkFree(location string, free json.RawMessage) error {
	if message := freeFault(free); message != "" {
		return problem.Invalid.Field(location, nil, "%s", message)
	}
	return nil
}
