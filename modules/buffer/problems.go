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

// DeadLetterApplied is what a replacement means that came too late.
var DeadLetterApplied = &problem.Kind{Code: "dead-letter-applied", Status: http.StatusConflict, Title: "The dead letter has been applied meanwhile",
	Doc: "What was to be replaced came to main another way before its replacement did, in a file that was carried there for instance, and only one of the two may be applied. Discard the replacement, and change the record itself if it must be another."}

// NotEditable is what a request to edit means that has no form that could be edited.
var NotEditable = &problem.Kind{Code: "not-editable", Status: http.StatusConflict, Title: "The transaction cannot be edited",
	Doc: "Only transactions that came from a request about a record can be edited: `request` of `GET /buffer/transactions/{id}` shows what there is to edit, and null when there is nothing. A decision of an operator, for instance, is discarded instead."}

// Problems are the module's problems.
var Problems = problem.Set{Kinds: []*problem.Kind{NoBufferHere, NotADeadLetter, DeadLetterApplied, NotEditable}, Constraints: map[string]problem.Constraint{}}

func noBufferHere() error {
	return NoBufferHere.New("the main site applies writes at once; there is nothing to wait for here")
}
