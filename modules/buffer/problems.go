package buffer

import (
	"net/http"

	"github.com/opsdb/opsdb/platform/problem"
)

// NoBufferHere is what the operations on a buffer answer at the main site.
var NoBufferHere = &problem.Kind{Code: "no-buffer-here", Status: http.StatusConflict, Title: "This site has no buffer",
	Doc: "The main site writes to the primary at once, so it has neither a buffer nor dead letters nor a processor. Ask a secondary site for its own; `GET /buffer-stats` at main lists all of them as last seen."}

// NotADeadLetter is what a decision about a transaction means that is on its way.
var NotADeadLetter = &problem.Kind{Code: "not-a-dead-letter", Status: http.StatusConflict, Title: "The transaction is no dead letter",
	Doc: "Only a transaction that has failed or is blocked can be discarded or replaced: one that waits for the primary, or that the primary has, takes its way. Look at its `state`; one that fails in the end can be decided about then."}

// Problems are the module's problems.
var Problems = problem.Set{Kinds: []*problem.Kind{NoBufferHere, NotADeadLetter}, Constraints: map[string]problem.Constraint{}}

func noBufferHere() error {
	return NoBufferHere.New("the main site applies writes at once; there is nothing to wait for here")
}
