// Package problem holds the one error type of the API and of dead letters: an
// RFC 9457 problem. A module declares each problem it can answer as a Kind, says
// which violated constraint means which Kind, and returns problems made from
// them; errors.Is(err, kind) recognises one again. SQLSTATE classes tell the
// processor whether trying again can help.
package problem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxErrors is how many field errors one problem lists; ErrorCount tells all.
const MaxErrors = 100

// maxValue is how many characters of a refused value are shown.
const maxValue = 200

// ContentType is the media type of every error answer.
const ContentType = "application/problem+json"

// Problem is one thing that went wrong, as RFC 9457 writes it. It is an error,
// and what a dead letter stores. Make one with Kind.New or Kind.Field, so that
// its type is documented and its lists are never null.
type Problem struct {
	Type       string       `json:"type" doc:"Which problem this is, /problems/<code>; GET it for its documentation." example:"/problems/observation-not-running"`
	Title      string       `json:"title" doc:"What the problem is in general; the same for every occurrence." example:"The observation is not running"`
	Status     int          `json:"status" doc:"The HTTP status." example:"409"`
	Detail     string       `json:"detail" doc:"What happened this time." example:"The execution has been finished at 2026-07-15T04:12:00Z."`
	Instance   string       `json:"instance" doc:"The path of the request." example:"/executed_obs_units/0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c/finish"`
	RequestID  string       `json:"request_id" doc:"The request, as X-Request-Id and the logs name it." example:"0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c"`
	Errors     []FieldError `json:"errors" nullable:"false" doc:"What is wrong with which part of the request, at most 100 entries."`
	ErrorCount int          `json:"error_count" doc:"How many parts are wrong, those not listed included." example:"1"`

	// RetryAfter is when another try makes sense; zero says nothing. It becomes
	// the header Retry-After, in whole seconds.
	RetryAfter time.Duration `json:"-"`

	headers http.Header
}

// FieldError names one part of a request and what is wrong with it.
type FieldError struct {
	Location string `json:"location" doc:"Where it is: body.<path>, query.<name>, path.<name> or header.<name>." example:"body.items[3].size_bytes"`
	Message  string `json:"message" doc:"What is wrong with it." example:"expected number >= 0"`
	Value    any    `json:"value" doc:"What was given there, cut at 200 characters; null when nothing was, or when it is a secret."`
}

// Kind is one documented problem of the API; modules declare theirs as package
// variables in problems.go. A Kind is an error only so that errors.Is can look
// for it.
type Kind struct {
	Code       string        // kebab-case statement of fact: observation-not-running
	Title      string        // one line, the same for every occurrence
	Status     int           // the HTTP status, 400-599
	Doc        string        // when it happens and what a client does about it; Markdown
	RetryAfter time.Duration // when another try makes sense; zero says nothing
}

// Error implements error.
func (k *Kind) Error() string { return k.Code }

// New returns a problem of this kind. The formatted text is its detail: what
// happened this time, for the person at the other end, so no internal text.
func (k *Kind) New(format string, args ...any) *Problem {
	return &Problem{
		Type:       "/problems/" + k.Code,
		Title:      k.Title,
		Status:     k.Status,
		Detail:     text(format, args),
		Errors:     []FieldError{},
		RetryAfter: k.RetryAfter,
	}
}

// Field returns a problem of this kind about one part of the request. The
// location reads like body.obs_unit_id, path.id, query.limit or header.Prefer.
func (k *Kind) Field(location string, value any, format string, args ...any) *Problem {
	message := text(format, args)
	return k.New("%s: %s", location, message).AddField(location, value, "%s", message)
}

// AddField adds one more wrong part to p and returns p. Beyond MaxErrors only the
// count grows. The value is cut, and left out where the location names a secret.
func (p *Problem) AddField(location string, value any, format string, args ...any) *Problem {
	p.ErrorCount++
	if len(p.Errors) < MaxErrors {
		p.Errors = append(p.Errors, FieldError{
			Location: clean(location),
			Message:  text(format, args),
			Value:    shown(location, value),
		})
	}
	return p
}

// WithHeader adds a response header that belongs to p, such as Allow, and returns p.
func (p *Problem) WithHeader(name, value string) *Problem {
	if p.headers == nil {
		p.headers = http.Header{}
	}
	p.headers.Add(name, value)
	return p
}

// Code returns the code of p's kind.
func (p *Problem) Code() string { return strings.TrimPrefix(p.Type, "/problems/") }

// Error implements error.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Code()
	}
	return p.Code() + ": " + p.Detail
}

// Is reports whether p is of the kind target, for errors.Is.
func (p *Problem) Is(target error) bool {
	k, ok := target.(*Kind)
	return ok && k.Code == p.Code()
}

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError: Retry-After, and what WithHeader added.
func (p *Problem) GetHeaders() http.Header {
	headers := http.Header{}
	for name, values := range p.headers {
		headers[name] = values
	}
	if p.RetryAfter > 0 {
		seconds := int64((p.RetryAfter + time.Second - 1) / time.Second)
		headers.Set("Retry-After", fmt.Sprint(seconds))
	}
	if p.Status == http.StatusUnauthorized {
		headers.Set("WWW-Authenticate", "Bearer")
	}
	return headers
}

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return ContentType }

func text(format string, args []any) string {
	return clean(fmt.Sprintf(format, args...))
}

// credentials are API tokens and JWTs, by their form: whoever puts one where none belongs is not answered with it, for
// answers are kept in more places than credentials are.
var credentials = regexp.MustCompile(`ops_api_token_[0-9A-Za-z]+|eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}(\.[0-9A-Za-z_-]*)?`)

// Mask returns s with … in the place of each credential in it.
func Mask(s string) string {
	if !strings.Contains(s, "ops_api_token_") && !strings.Contains(s, "eyJ") {
		return s
	}
	return credentials.ReplaceAllString(s, "…")
}

// clean makes text fit for JSON and for jsonb: dead letters are stored at main,
// which refuses NUL, and must never fail over their own error.
func clean(s string) string {
	s = Mask(s)
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// shown returns the value as the client may see it: JSON, at most maxValue
// characters, and nothing where the location names a secret.
func shown(location string, value any) any {
	if value == nil || secret(location) {
		return nil
	}
	switch v := value.(type) {
	case string:
		return cut(v)
	case []byte:
		return cut(string(v))
	case bool, int, int16, int32, int64, uint, uint16, uint32, uint64, float32:
		return v
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return cut(fmt.Sprint(value))
	}
	encoded := bytes.TrimSpace(b.Bytes())
	if len(encoded) > 2 && encoded[0] == '"' {
		var s string
		if err := json.Unmarshal(encoded, &s); err == nil {
			return cut(s)
		}
	}
	if hidesSecret(encoded) || credentials.Match(encoded) {
		return nil
	}
	// A number beyond float64 would break the client's reading of the whole answer.
	var readable any
	if len(encoded) > maxValue || bytes.Contains(encoded, []byte(`\u0000`)) || json.Unmarshal(encoded, &readable) != nil {
		return cut(strings.ReplaceAll(string(encoded), `\u0000`, "\uFFFD"))
	}
	return json.RawMessage(encoded)
}

func cut(s string) string {
	s = clean(s)
	if len(s) <= maxValue {
		return s
	}
	n := 0
	for i := range s {
		if n == maxValue {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

var secretWords = []string{"password", "secret", "token", "authorization", "cookie", "device_code", "code_verifier", "private_key", "credential"}

func secret(location string) bool {
	lower := strings.ToLower(location)
	if lower == "body.code" || lower == "query.code" { // of a login
		return true
	}
	for _, word := range secretWords {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

// hidesSecret reports whether encoded is a JSON object or list with a member that
// names a secret: an error about a whole body must not repeat what is inside.
func hidesSecret(encoded []byte) bool {
	return len(encoded) > 0 && (encoded[0] == '{' || encoded[0] == '[') && secret(string(encoded))
}
