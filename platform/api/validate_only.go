package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// validateOnly is the parameter of Write that asks for a dry run.
const validateOnly = "validate_only"

// answering is a write that may turn out to be a dry run. Then nothing was created,
// whatever the operation answers otherwise, and the headers that say where something
// is and what became of it would lie.
type answering struct {
	humaContext
	st *state
}

type humaContext = huma.Context // embedded under a name that its methods do not have

// Unwrap lets humago find the request.
func (a answering) Unwrap() huma.Context { return a.humaContext }

// SetStatus implements huma.Context.
func (a answering) SetStatus(code int) {
	if a.st.validateOnly && code > http.StatusOK && code < http.StatusMultipleChoices {
		code = http.StatusOK
	}
	a.humaContext.SetStatus(code)
}

// SetHeader implements huma.Context.
func (a answering) SetHeader(name, value string) {
	if !a.untrue(name) {
		a.humaContext.SetHeader(name, value)
	}
}

// AppendHeader implements huma.Context.
func (a answering) AppendHeader(name, value string) {
	if !a.untrue(name) {
		a.humaContext.AppendHeader(name, value)
	}
}

func (a answering) untrue(header string) bool {
	if !a.st.validateOnly {
		return false
	}
	switch http.CanonicalHeaderKey(header) {
	case "Etag", "Location", "X-Commit-Lsn", "X-Transaction-Id":
		return true
	}
	return false
}
