package buffer

import (
	"net/http"

	"github.com/opsdb/opsdb/platform/problem"
)

// NoBufferHere is what the operations on a buffer answer at the main site.
var NoBufferHere = &problem.Kind{Code: "no-buffer-here", Status: http.StatusConflict, Title: "This site has no buffer",
	Doc: "The main site writes to the primary at once, so it has neither a buffer nor dead letters nor a processor. Ask a secondary site for its own; `GET /buffer-stats` at main lists all of them as last seen."}

// Problems are the module's problems.
var Problems = problem.Set{Kinds: []*problem.Kind{NoBufferHere}, Constraints: map[string]problem.Constraint{}}

func noBufferHere() error {
	return NoBufferHere.New("the main site applies writes at once; there is nothing to wait for here")
}
