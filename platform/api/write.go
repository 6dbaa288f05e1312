package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/problem"
)

// Write is what every POST, PUT, PATCH and DELETE takes; inputs embed it.
type Write struct {
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"255" pattern:"^[!-~]+$" doc:"Makes the request safe to repeat: the same key, route and body of the same actor give the first answer again. 1 to 255 visible characters, valid for at least 7 days."`
	Prefer         string `header:"Prefer" maxLength:"500" doc:"wait=N waits up to N seconds, at most 60, until the write has been applied and replicated; when the time is up the answer tells the state reached." example:"wait=10"`
	ValidateOnly   bool   `query:"validate_only" doc:"A dry run: true makes all checks, writes nothing, ignores the Idempotency-Key and answers 200 with the record as it would be, its sync null. Ids and times that the server makes are others when it is written. With nothing to check against it is 503."`

	wait time.Duration
}

// WriteRequest is what a txn.Request has to say of the request.
type WriteRequest struct {
	Operation string // the operation's id
	Actor     string
	UserID    *int64
	Key       string // Idempotency-Key, or ""
	Digest    []byte // of method, path and body
	// ValidateOnly asks for the checks alone: nothing is to be written.
	ValidateOnly bool
}

// Request returns what the transaction has to know of the request in ctx.
func (w Write) Request(ctx context.Context) WriteRequest {
	request := WriteRequest{Key: w.IdempotencyKey, ValidateOnly: w.ValidateOnly}
	st := stateOf(ctx)
	if st == nil {
		return request
	}
	request.Digest = st.digest
	if st.op != nil {
		request.Operation = st.op.ID
	}
	if p := st.principal; p != nil {
		request.Actor = p.Actor()
		if p.UserID != 0 {
			id := p.UserID
			request.UserID = &id
		}
	}
	return request
}

// Wait returns how long the client wants to wait for the write to take effect.
func (w Write) Wait() time.Duration { return w.wait }

// Resolve implements huma.Resolver.
func (w *Write) Resolve(ctx huma.Context) []error {
	var errs []error
	if st := stateOf(ctx.Context()); st != nil && w.IdempotencyKey == "" && st.request != nil {
		if _, there := st.request.Header["Idempotency-Key"]; there {
			errs = append(errs, fieldError("header.Idempotency-Key", nil, "must have 1 to 255 visible characters"))
		}
	}
	wait, ok := parseWait(w.Prefer)
	if !ok {
		errs = append(errs, fieldError("header.Prefer", w.Prefer, "wait must be a number of seconds"))
	}
	w.wait = wait
	if st := stateOf(ctx.Context()); st != nil {
		st.validateOnly = w.ValidateOnly
	}
	return errs
}

func fieldError(location string, value any, message string) error {
	return &huma.ErrorDetail{Location: location, Value: value, Message: message}
}

// parseWait finds wait=N among the preferences (RFC 7240) and cuts it at MaxWait.
// Other preferences are ignored, as the RFC wants it.
func parseWait(prefer string) (wait time.Duration, ok bool) {
	for preference := range strings.SplitSeq(prefer, ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil {
			return 0, false
		}
		return min(time.Duration(seconds)*time.Second, MaxWait), true
	}
	return 0, true
}

func preferredWait(req *http.Request) time.Duration {
	wait, _ := parseWait(req.Header.Get("Prefer")) // refused by Resolve when it is wrong
	return wait
}

// Written are the headers of an answer to a write; outputs embed it.
type Written struct {
	TransactionID string `header:"X-Transaction-Id" doc:"The transaction of a buffered write; GET /transactions/{id} tells what became of it."`
	CommitLSN     string `header:"X-Commit-LSN" doc:"Where the write lies in the primary's log, <timeline>:<X/Y>; good for X-Min-LSN."`
	Repeat
}

// Repeat is the header of an answer that an Idempotency-Key can bring back;
// outputs of writes without a transaction embed it alone.
type Repeat struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true when this repeats the answer to an earlier request with the same key."`
}

// SetReplayed marks the answer as a repeat of an earlier one.
func (w *Repeat) SetReplayed(replayed bool) {
	w.Replayed = ""
	if replayed {
		w.Replayed = "true"
	}
}

// CheckClientID returns a problem when a client-made id cannot be one: the nil and
// the max UUID. The location is where it was given, body.id for most.
func CheckClientID(location string, id uuid.UUID) error {
	if id == uuid.Nil || id == uuid.Max {
		return problem.Invalid.Field(location, id.String(), "must be neither the nil nor the max UUID")
	}
	return nil
}
