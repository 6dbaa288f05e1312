package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opsdb/opsdb/platform/problem"
)

func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return newError(nil, status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return newError(ctx, status, msg, errs)
	}
}

// newError is what huma calls for every error it finds itself: problems of a
// request, and a handler's error that is no problem, whose text must not show.
func newError(ctx huma.Context, status int, msg string, errs []error) huma.StatusError {
	if status == http.StatusNotModified {
		return &notModified{}
	}
	p := kindOf(status).New("%s", detailOf(status, msg))
	var st *state
	if ctx != nil {
		st = stateOf(ctx.Context())
	}
	if status < 500 {
		for _, err := range errs {
			addError(p, err)
		}
		if st != nil {
			st.refuse(p)
		}
	}
	if st != nil {
		p.Instance, p.RequestID = problem.Mask(st.path), st.requestID
	}
	return p
}

func kindOf(status int) *problem.Kind {
	switch status {
	case http.StatusBadRequest:
		return problem.Malformed
	case http.StatusUnauthorized:
		return problem.Unauthorized
	case http.StatusForbidden:
		return problem.Forbidden
	case http.StatusNotFound:
		return problem.NotFound
	case http.StatusMethodNotAllowed:
		return problem.MethodNotAllowed
	case http.StatusConflict:
		return problem.Conflict
	case http.StatusPreconditionFailed:
		return problem.VersionMismatch
	case http.StatusRequestEntityTooLarge:
		return problem.TooLarge
	case http.StatusUnsupportedMediaType:
		return problem.UnsupportedMediaType
	case http.StatusUnprocessableEntity:
		return problem.Invalid
	case http.StatusPreconditionRequired:
		return problem.PreconditionRequired
	case http.StatusTooManyRequests:
		return problem.TooManyRequests
	}
	if status >= 400 && status < 500 {
		return problem.Malformed
	}
	return problem.Internal
}

func detailOf(status int, msg string) string {
	switch {
	case status >= 500:
		return "the server made a mistake; its log has the details"
	case status == http.StatusUnprocessableEntity:
		return "the request is not valid"
	case msg == "":
		return http.StatusText(status)
	}
	return msg
}

func addError(p *problem.Problem, err error) {
	if err == nil {
		return
	}
	var inner *problem.Problem
	if errors.As(err, &inner) {
		if len(inner.Errors) == 0 {
			p.AddField("", nil, "%s", inner.Detail)
		}
		for _, f := range inner.Errors {
			p.AddField(f.Location, f.Value, "%s", f.Message)
		}
		return
	}
	var detail *huma.ErrorDetail
	if !errors.As(err, &detail) {
		p.AddField("", nil, "%s", err.Error())
		return
	}
	location, message, value := detail.Location, detail.Message, detail.Value
	// A value of the right shape that fits no field is found only when it is
	// decoded: explain puts the member first, and the whole body is no value.
	if member, rest, found := strings.Cut(message, ": "); found && location == "body" && strings.HasPrefix(rest, "the ") {
		location, message, value = "body."+member, rest, nil
	}
	if location == "body" {
		value = nil
	}
	message = plain(message)
	for _, f := range p.Errors {
		if message == notUUID && f.Location == location && f.Message == message {
			return // its length and its form are one fault
		}
	}
	p.AddField(location, value, "%s", message)
}

// plain gives a message of huma's the words of this package. What reads a parameter
// says itself what is wrong with it.
func plain(message string) string {
	message = strings.TrimPrefix(message, "invalid value: ")
	for _, form := range []string{"expected string to be RFC 4122 uuid", "expected string to be a UUID", "invalid UUID", "invalid urn prefix"} {
		if strings.HasPrefix(message, form) {
			return notUUID
		}
	}
	return message
}
