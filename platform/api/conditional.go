package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opsdb/opsdb/platform/problem"
)

// ETag returns the strong version of a record: a digest of its own columns and one
// of the whole answer, which is them and rest: sync and what belongs to the record. A
// writer compares the first, so that a record that has merely replicated can still be
// edited; a reader compares both.
func ETag(own, rest any) string {
	columns := jsonOf(own)
	tag := append(make([]byte, 0, 40), '"')
	tag = appendDigest(tag, columns)
	tag = append(tag, '.')
	tag = appendDigest(tag, append(columns, jsonOf(rest)...))
	return string(append(tag, '"'))
}

func jsonOf(v any) []byte {
	encoded, err := json.Marshal(v)
	if err != nil {
		// Records are made of JSON types; anything else is a bug of their module.
		panic(fmt.Sprintf("api: a record has no JSON form: %v", err))
	}
	return encoded
}

func appendDigest(b, data []byte) []byte {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.AppendEncode(b, sum[:12])
}

// Versioned is the header of an answer with one record; outputs embed it.
type Versioned struct {
	ETag string `header:"ETag" doc:"The version of the record: If-None-Match compares all of it, If-Match the part before the point."`
}

// IfMatch guards a change with the version it is meant for; inputs of PUT, PATCH
// and DELETE embed it.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"1000" doc:"The ETag of the version this change is meant for; another version is 412. Without it the record's state alone guards the change."`
}

// Given reports whether the client named a version.
func (m IfMatch) Given() bool { return strings.TrimSpace(m.IfMatch) != "" }

// Match returns problem.VersionMismatch when the client named a version and the
// record's own columns have another one. etag is the record's present ETag.
func (m IfMatch) Match(etag string) error {
	if !m.Given() || strings.TrimSpace(m.IfMatch) == "*" {
		return nil
	}
	own := ownPart(etag)
	for candidate := range strings.SplitSeq(m.IfMatch, ",") {
		candidate = strings.TrimSpace(candidate)
		// A weak tag never matches here (RFC 9110, section 13.1.1).
		if strings.HasPrefix(candidate, `"`) && ownPart(candidate) == own {
			return nil
		}
	}
	return problem.VersionMismatch.Field("header.If-Match", m.IfMatch, "the record has another version now: %s", etag)
}

// Require returns problem.PreconditionRequired when the client named no version.
func (m IfMatch) Require() error {
	if m.Given() {
		return nil
	}
	return problem.PreconditionRequired.Field("header.If-Match", nil, "is required: send the ETag you have read")
}

func ownPart(etag string) string {
	own, _, _ := strings.Cut(strings.Trim(etag, `"`), ".")
	return own
}

// IfNoneMatch lets a reader skip what it has already; inputs of GET embed it.
type IfNoneMatch struct {
	IfNoneMatch string `header:"If-None-Match" maxLength:"1000" doc:"ETags the client has; the answer is 304 without a body when the record is one of them."`
}

// Unchanged returns the error that answers 304 when the client has the version etag
// already, and nil otherwise. Return it as it is.
func (m IfNoneMatch) Unchanged(etag string) error {
	for candidate := range strings.SplitSeq(m.IfNoneMatch, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == etag || candidate == "*" {
			return &notModified{etag: etag}
		}
	}
	return nil
}

// notModified answers 304; it is an error only for huma.
type notModified struct{ etag string }

func (n *notModified) Error() string { return "not modified" }

// GetStatus implements huma.StatusError.
func (n *notModified) GetStatus() int { return http.StatusNotModified }

// GetHeaders implements huma.HeadersError.
func (n *notModified) GetHeaders() http.Header {
	if n.etag == "" {
		return nil
	}
	return http.Header{"ETag": {n.etag}}
}

// Read is what reads of records take besides their own parameters.
type Read struct {
	MinLSN  string `header:"X-Min-LSN" pattern:"^[0-9]{1,10}:[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$" patternDescription:"<timeline>:<X/Y>" doc:"Waits until this site shows the write that answered this X-Commit-LSN; 504 when it takes too long." example:"1:16/B374D848"`
	Overlay string `header:"X-Overlay" enum:"optional" doc:"optional: while pending writes cannot be read, answer what the replica alone has, marked X-Overlay: unavailable, instead of 503."`
}

// OverlayOptional reports whether the client takes an answer without pending writes.
func (r Read) OverlayOptional() bool { return r.Overlay == "optional" }

// minLSN is the position a read waits for, "" for none.
func (rt *route) minLSN(req *http.Request) string {
	if !rt.headers["X-Min-Lsn"] {
		return ""
	}
	return req.Header.Get("X-Min-LSN")
}

// waitForReplay holds a read with X-Min-LSN until the site shows that position, and
// returns the context for the handler.
func (r *Router) waitForReplay(ctx context.Context, rt *route, st *state) (context.Context, error) {
	position := rt.minLSN(st.request)
	if position == "" {
		return ctx, nil
	}
	if r.opts.Replayed == nil {
		return ctx, problem.Invalid.Field("header.X-Min-LSN", position, "this server does not know how far its database has replayed")
	}
	until := time.Now().Add(r.opts.LSNTimeout)
	reading, err := r.opts.Replayed(ctx, position, until)
	var known *problem.Problem
	if err != nil && !time.Now().Before(until) && ctx.Err() == nil && !errors.As(err, &known) {
		err = problem.NotReplicatedInTime.New("this site had not replayed %s within %s", position, r.opts.LSNTimeout)
	}
	if err != nil {
		return ctx, err
	}
	return reading, nil
}

// ReadAt are the headers that tell from where an answer was read; outputs embed it.
type ReadAt struct {
	ReplayLSN string `header:"X-Replay-LSN" doc:"How far the answering database had at least replayed the primary's log, <timeline>:<X/Y>. A replica without its stream may show more than this."`
	Overlay   string `header:"X-Overlay" doc:"What is missing from this answer. unavailable: the pending writes, for they cannot be read. pending-only: everything but the pending writes, for the replica cannot be read."`
}

// SetOverlayUnavailable marks an answer that lacks pending writes.
func (r *ReadAt) SetOverlayUnavailable(missing bool) {
	r.Overlay = ""
	if missing {
		r.Overlay = "unavailable"
	}
}

// Digest returns the digest of route and body of the request in ctx.
func Digest(ctx context.Context) []byte {
	if st := stateOf(ctx); st != nil {
		return st.digest
	}
	return nil
}
