package problem

import (
	"net/http"
	"time"
)

// The kinds every part of the product uses. A module declares its own in addition.
var (
	Malformed = &Kind{Code: "malformed", Status: http.StatusBadRequest, Title: "The request cannot be read",
		Doc: "The request is not HTTP or not JSON as the API reads it: a broken body, a missing body, an impossible header. Mend the client; sending the same again gives the same."}
	Unauthorized = &Kind{Code: "unauthenticated", Status: http.StatusUnauthorized, Title: "No valid credential",
		Doc: "The request has no `Authorization: Bearer` credential, or one that is unknown, revoked or expired. Get a valid one. A credential that cannot be checked at the moment is `credentials-unavailable` instead."}
	Forbidden = &Kind{Code: "forbidden", Status: http.StatusForbidden, Title: "The credential does not permit this",
		Doc: "The credential is valid and lacks the permission that the operation names in `x-permission`. Ask for a role that has it, or for a token with a wider scope."}
	NotFound = &Kind{Code: "not-found", Status: http.StatusNotFound, Title: "There is no such thing",
		Doc: "Nothing lies at this path, or the record it names does not exist. Pending records count: a record that this site has accepted is found at once."}
	MethodNotAllowed = &Kind{Code: "method-not-allowed", Status: http.StatusMethodNotAllowed, Title: "The path does not know this method",
		Doc: "The path exists, with other methods. The header `Allow` lists them."}
	Conflict = &Kind{Code: "conflict", Status: http.StatusConflict, Title: "The request conflicts with what is there",
		Doc: "What is recorded at present does not allow the change. Read the record again and decide anew."}
	StateConflict = &Kind{Code: "state-conflict", Status: http.StatusConflict, Title: "The record is in another state by now",
		Doc: "A change expected a record in a certain state, and at the primary it was in another one, or gone. Read the record again. As a dead letter: look at the record, mend the cause and retry, or discard."}
	ConstraintViolated = &Kind{Code: "constraint-violated", Status: http.StatusConflict, Title: "A rule of the database forbids this",
		Doc: "The primary refused the change since one of its constraints would have been violated; the detail names it."}
	TimelineChanged = &Kind{Code: "timeline-changed", Status: http.StatusConflict, Title: "The primary has been replaced since",
		Doc: "`X-Min-LSN` names another timeline than the one this site follows, so positions cannot be compared. Read without the header and check that the record is there."}
	IDTaken = &Kind{Code: "id-taken", Status: http.StatusConflict, Title: "The id is taken",
		Doc: "The `id` that the client chose belongs to another record already. Choose another one, or leave it out."}
	VersionMismatch = &Kind{Code: "version-mismatch", Status: http.StatusPreconditionFailed, Title: "The record has changed",
		Doc: "`If-Match` names another version than the present one. Read the record again and apply the change to what it is now."}
	TooLarge = &Kind{Code: "too-large", Status: http.StatusRequestEntityTooLarge, Title: "The body is too large",
		Doc: "The body is above the limit: 1 MiB, in bulk operations 16 MiB. Send several smaller requests."}
	UnsupportedMediaType = &Kind{Code: "unsupported-media-type", Status: http.StatusUnsupportedMediaType, Title: "The body is in a format this operation does not read",
		Doc: "The `Content-Type` is none of those that the operation lists. JSON is `application/json`."}
	Invalid = &Kind{Code: "invalid", Status: http.StatusUnprocessableEntity, Title: "The request is not valid",
		Doc: "Parts of the request do not fit what the operation takes; `errors` lists all of them, at most 100. Mend them; sending the same again gives the same."}
	InvalidValue = &Kind{Code: "invalid-value", Status: http.StatusUnprocessableEntity, Title: "The database cannot hold a value",
		Doc: "A value has a form or size that the primary refuses."}
	IdempotencyKeyReused = &Kind{Code: "idempotency-key-reused", Status: http.StatusUnprocessableEntity, Title: "The Idempotency-Key was used for something else",
		Doc: "The same actor has sent this `Idempotency-Key` before with another route or body. Use a new key for a new intention, and the old one only to repeat a request unchanged."}
	PreconditionRequired = &Kind{Code: "precondition-required", Status: http.StatusPreconditionRequired, Title: "If-Match is required",
		Doc: "The operation changes a record that several workers compete for, so it needs `If-Match` with the `ETag` that was read."}
	TooManyRequests = &Kind{Code: "too-many-requests", Status: http.StatusTooManyRequests, Title: "Too many requests", RetryAfter: time.Second,
		Doc: "The credential has used up its rate (`RATE_LIMIT`; the headers `RateLimit-Policy` and `RateLimit` tell), or the address has sent too many well-formed credentials that nobody has. Wait for `Retry-After` seconds."}
	HeaderTooLarge = &Kind{Code: "header-too-large", Status: http.StatusRequestHeaderFieldsTooLarge, Title: "The headers are too large",
		Doc: "The request has too many headers, or too long ones."}
	Internal = &Kind{Code: "internal", Status: http.StatusInternalServerError, Title: "Something went wrong here",
		Doc: "A fault of the server; its log has the details under the `request_id`. Nothing has been written, unless the answer to a write was lost: send it again with the same `Idempotency-Key`."}
	BufferFull = &Kind{Code: "buffer-full", Status: http.StatusServiceUnavailable, Title: "The buffer is full", RetryAfter: 30 * time.Second,
		Doc: "The site holds as many transactions as `TRANSACTION_BUFFER_SIZE` or its Redis allow. It takes more as soon as some have been applied; nothing accepted is lost."}
	PendingUnavailable = &Kind{Code: "pending-unavailable", Status: http.StatusServiceUnavailable, Title: "Pending writes cannot be read now", RetryAfter: 2 * time.Second,
		Doc: "The site's Redis cannot be reached, so writes cannot be accepted, and the replica alone could hide records that were accepted. A read that may miss them sends `X-Overlay: optional`."}
	ReplicaUnreachable = &Kind{Code: "replica-unreachable", Status: http.StatusServiceUnavailable, Title: "The site's replica cannot be reached", RetryAfter: 2 * time.Second,
		Doc: "The site's PostgreSQL replica does not answer. Critical writes are accepted all the same; records that are still pending can be read."}
	ReplicaBehind = &Kind{Code: "replica-behind", Status: http.StatusServiceUnavailable, Title: "The replica shows less than it did", RetryAfter: 2 * time.Second,
		Doc: "The replica was rebuilt or failed over and does not show yet what it has shown before. Reads wait until it does or until the missing records are put back."}
	MainUnreachable = &Kind{Code: "main-unreachable", Status: http.StatusServiceUnavailable, Title: "The primary cannot be reached", RetryAfter: 10 * time.Second,
		Doc: "The operation is not a critical one, so it needs the primary, which does not answer. Critical operations go on."}
	DatabaseBusy = &Kind{Code: "database-busy", Status: http.StatusServiceUnavailable, Title: "The database is busy", RetryAfter: time.Second,
		Doc: "The database gave up on the request because of load, locks or a concurrent change. Send it again."}
	CredentialsUnavailable = &Kind{Code: "credentials-unavailable", Status: http.StatusServiceUnavailable, Title: "The credential cannot be checked now", RetryAfter: 2 * time.Second,
		Doc: "The site cannot look the credential up at the moment, and has not seen it recently. It may well be valid: keep it and try again."}
	ShuttingDown = &Kind{Code: "shutting-down", Status: http.StatusServiceUnavailable, Title: "The server is shutting down", RetryAfter: 2 * time.Second,
		Doc: "This process takes no more requests. Another one, or its successor, does."}
	RequestTimeout = &Kind{Code: "request-timeout", Status: http.StatusServiceUnavailable, Title: "The request took too long", RetryAfter: 2 * time.Second,
		Doc: "The request was not done within `REQUEST_TIMEOUT`. A write may have been accepted all the same: send it again with the same `Idempotency-Key` to learn its fate."}
	NotReplicatedInTime = &Kind{Code: "not-replicated-in-time", Status: http.StatusGatewayTimeout, Title: "Not replicated in time",
		Doc: "The replica has not reached the position that `X-Min-LSN` asks for within `LSN_TIMEOUT`. Try again, or read what is there without the header."}
)

// Common is the set of the kinds above; every Catalog has it.
var Common = Set{Kinds: []*Kind{
	Malformed, Unauthorized, Forbidden, NotFound, MethodNotAllowed, Conflict, StateConflict, ConstraintViolated, TimelineChanged, IDTaken,
	VersionMismatch, TooLarge, UnsupportedMediaType, Invalid, InvalidValue, IdempotencyKeyReused, PreconditionRequired, TooManyRequests, HeaderTooLarge,
	Internal, BufferFull, PendingUnavailable, ReplicaUnreachable, ReplicaBehind, MainUnreachable, DatabaseBusy, CredentialsUnavailable,
	ShuttingDown, RequestTimeout, NotReplicatedInTime,
}}
