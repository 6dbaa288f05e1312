package pending

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Step is one typed write inside a transaction, in its stored form.
type Step struct {
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data"`
}

// Transaction is one unit of work as it is stored, sent and exported. Its JSON
// begins with the fields of the line that an operator sees in the buffer.
type Transaction struct {
	Seq        int64     `json:"seq"`
	ID         uuid.UUID `json:"id"`
	Operation  string    `json:"operation"`
	Rows       int       `json:"rows"`
	AcceptedAt time.Time `json:"accepted_at"`

	Site           string  `json:"site"`
	Actor          string  `json:"actor"`
	UserID         *int64  `json:"user_id"`
	IdempotencyKey *string `json:"idempotency_key"`
	// RequestDigest is the digest of route and body that a repeated key must
	// match, in hexadecimal when stored.
	RequestDigest Digest `json:"request_digest"`
	// Trace is the trace context of the request (W3C traceparent), empty when it was
	// not traced. It links what the processor does to the request, and nothing else
	// is decided by it.
	Trace string `json:"trace,omitempty"`
	// ClientIDs are the created rows whose id the client chose: such a row may
	// exist in the database already.
	ClientIDs []uuid.UUID `json:"client_ids"`
	// Guards are guard keys beside the rows that the steps touch, such as a
	// package's "<execution>:<module>".
	Guards []string `json:"guards"`
	// Discards are the dead letters, by seq, that this transaction discards: one
	// that is buffered takes them out of the view and out of everything that is
	// sent, from its acceptance.
	Discards []int64 `json:"discards,omitempty"`
	// Place is the seq of the dead letter whose place this transaction takes among
	// the changes of a row, 0 for its own: a correction comes before what was
	// accepted after the mistake.
	Place int64  `json:"place,omitempty"`
	Steps []Step `json:"steps"`
}

// Digest is a binary digest, written in hexadecimal.
type Digest []byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	out, err := hex.DecodeString(string(b))
	if err != nil {
		return fmt.Errorf("reading a digest: %w", err)
	}
	*d = out
	return nil
}

// head and body are the two halves of a stored transaction without the outer
// braces and without seq. The line in the buffer is {"seq":N,<head>}, the whole
// is {"seq":N,<head>,<body>}: scripts put both together without knowing JSON.
type head struct {
	ID         uuid.UUID `json:"id"`
	Operation  string    `json:"operation"`
	Rows       int       `json:"rows"`
	AcceptedAt time.Time `json:"accepted_at"`
}

type body struct {
	Site           string      `json:"site"`
	Actor          string      `json:"actor"`
	UserID         *int64      `json:"user_id"`
	IdempotencyKey *string     `json:"idempotency_key"`
	RequestDigest  Digest      `json:"request_digest"`
	Trace          string      `json:"trace,omitempty"`
	ClientIDs      []uuid.UUID `json:"client_ids"`
	Guards         []string    `json:"guards"`
	Discards       []int64     `json:"discards,omitempty"`
	Place          int64       `json:"place,omitempty"`
	Steps          []Step      `json:"steps"`
}

// encode gives head and body of t, in memory of their own.
func encode(t *Transaction) (h, b []byte, err error) {
	if h, err = json.Marshal(head{t.ID, t.Operation, t.Rows, t.AcceptedAt.UTC()}); err != nil {
		return nil, nil, fmt.Errorf("encoding transaction %s: %w", t.ID, err)
	}
	w := body{t.Site, t.Actor, t.UserID, t.IdempotencyKey, t.RequestDigest, t.Trace, t.ClientIDs, t.Guards, t.Discards, t.Place, t.Steps}
	if w.ClientIDs == nil {
		w.ClientIDs = []uuid.UUID{}
	}
	if w.Guards == nil {
		w.Guards = []string{}
	}
	if w.Steps == nil {
		w.Steps = []Step{}
	}
	if b, err = json.Marshal(w); err != nil {
		return nil, nil, fmt.Errorf("encoding transaction %s: %w", t.ID, err)
	}
	return h[1 : len(h)-1], b[1 : len(b)-1], nil
}

// JSON is the whole transaction as it is exported and shown to an operator.
func (t *Tx) JSON() json.RawMessage {
	out := make([]byte, 0, len(t.head)+len(t.body)+32)
	out = strconv.AppendInt(append(out, `{"seq":`...), t.Seq, 10)
	out = append(append(out, ','), t.head...)
	out = append(append(out, ','), t.body...)
	return append(out, '}')
}

// decode reads a stored transaction; the steps' data alias body.
func decode(seq int64, h, b []byte) (*Transaction, error) {
	t := &Transaction{Seq: seq}
	if err := eachField(h, t.headField); err != nil {
		return nil, fmt.Errorf("reading transaction %d: %w", seq, err)
	}
	if err := eachField(b, t.bodyField); err != nil {
		return nil, fmt.Errorf("reading transaction %d: %w", seq, err)
	}
	if t.ID == uuid.Nil {
		return nil, fmt.Errorf("reading transaction %d: it has no id", seq)
	}
	return t, nil
}

// The fields are read without reflection where they are plain, as nearly all are: a site
// that starts reads a hundred thousand transactions before it answers.
func (t *Transaction) headField(name, v []byte) (err error) {
	switch string(name) {
	case "id":
		t.ID, err = uuid.ParseBytes(inside(v))
	case "operation":
		t.Operation, err = jsonString(v)
	case "rows":
		t.Rows, err = strconv.Atoi(string(v))
	case "accepted_at":
		err = t.AcceptedAt.UnmarshalJSON(v)
	}
	return err
}

func (t *Transaction) bodyField(name, v []byte) (err error) {
	empty, null := string(v) == "[]", string(v) == "null"
	switch string(name) {
	case "site":
		t.Site, err = jsonString(v)
	case "actor":
		t.Actor, err = jsonString(v)
	case "user_id":
		if !null {
			var id int64
			id, err = strconv.ParseInt(string(v), 10, 64)
			t.UserID = &id
		}
	case "idempotency_key":
		if !null {
			var key string
			key, err = jsonString(v)
			t.IdempotencyKey = &key
		}
	case "request_digest":
		err = t.RequestDigest.UnmarshalText(inside(v))
	case "trace":
		t.Trace, err = jsonString(v)
	case "client_ids":
		if t.ClientIDs = []uuid.UUID{}; !empty {
			err = json.Unmarshal(v, &t.ClientIDs)
		}
	case "guards":
		if t.Guards = []string{}; !empty {
			err = json.Unmarshal(v, &t.Guards)
		}
	case "discards":
		err = json.Unmarshal(v, &t.Discards)
	case "place":
		t.Place, err = strconv.ParseInt(string(v), 10, 64)
	case "steps":
		return eachElement(v, func(e []byte) error {
			var s Step
			if err := eachField(inside(e), func(name, v []byte) error {
				switch string(name) {
				case "kind":
					s.Kind, err = jsonString(v)
				case "data":
					s.Data = v
				}
				return err
			}); err != nil {
				return err
			}
			t.Steps = append(t.Steps, s)
			return nil
		})
	}
	return err
}

// idempotencyField is the field of a transaction in the hash `idempotency`: a
// digest of actor and key, or of the id when the client sent no key. The id is
// kept there too, so that a repeated script finds what it did the first time.
func idempotencyField(actor string, key *string, id uuid.UUID) string {
	h := sha256.New()
	if key != nil {
		h.Write([]byte(actor + "\x00" + *key))
	} else {
		h.Write(append([]byte("\x00\x00"), id[:]...))
	}
	return string(h.Sum(nil)[:16])
}
