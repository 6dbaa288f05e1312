package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// Order is the sort order of a list: which values its cursors hold.
type Order int

// The orders of the API.
const (
	NewestFirst      Order = iota // time descending, then UUID descending
	NewestFirstByInt              // time descending, then integer id descending
	ByName                        // name, then integer id
	ByID                          // integer id
)

// SortKey is the place of one row in its list: the values of its order, the others
// zero.
type SortKey struct {
	Time time.Time
	Name string
	UUID uuid.UUID
	Int  int64
}

// List is what every list takes; inputs embed it. With Op.Filters set, Values has
// what the filters ask for.
type List struct {
	Read
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many items a page has at most."`
	Cursor string `query:"cursor" maxLength:"4000" doc:"next_cursor of the page before; the filters must be the same. Rows that have arrived before it are not shown again."`
	Count  bool   `query:"count" doc:"true adds total, the exact number of matching records."`

	// Values are the filters of the request.
	Values Values `json:"-"`

	after *SortKey
	state listState
}

type listState struct {
	path   string
	query  url.Values
	digest []byte
}

// After returns where the page begins: behind the row with this key. It is false
// for the first page.
func (l List) After() (SortKey, bool) {
	if l.after == nil {
		return SortKey{}, false
	}
	return *l.after, true
}

// Next returns the cursor of the page after the row with this key.
func (l List) Next(last SortKey) string { return EncodeCursor(last, l.state.digest) }

// Resolve implements huma.Resolver.
func (l *List) Resolve(ctx huma.Context) []error {
	st := stateOf(ctx.Context())
	if st == nil || st.request == nil {
		return nil
	}
	l.Values = st.values
	query := st.request.URL.Query()
	l.state = listState{path: st.request.URL.EscapedPath(), query: query, digest: filterDigest(st.op, st.request.URL.EscapedPath(), query)}
	if l.Cursor == "" {
		return nil
	}
	key, err := DecodeCursor(l.Cursor, l.state.digest, st.op.Order)
	if err != nil {
		return []error{fieldError("query.cursor", l.Cursor, err.Error())}
	}
	l.after = &key
	return nil
}

// filterDigest identifies the list and its filters, whatever their spelling.
func filterDigest(op *Op, path string, query url.Values) []byte {
	names := make([]string, 0, len(query))
	for name := range query {
		if name != "limit" && name != "cursor" && name != "count" && name != "format" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString(op.ID + "\x00" + path)
	for _, name := range names {
		b.WriteString("\x00" + name + "\x01" + strings.Join(query[name], "\x02"))
	}
	sum := sha256.Sum256([]byte(b.String()))
	return sum[:9]
}

// cursor is the JSON inside a cursor; clients must not look into it.
type cursor struct {
	Digest []byte     `json:"d"`
	Time   *time.Time `json:"t,omitempty"`
	Name   *string    `json:"n,omitempty"`
	UUID   *uuid.UUID `json:"u,omitempty"`
	Int    *int64     `json:"i,omitempty"`
}

// EncodeCursor returns the cursor behind the row with this key, bound to the
// filters with this digest.
func EncodeCursor(key SortKey, digest []byte) string {
	c := cursor{Digest: digest}
	if !key.Time.IsZero() {
		t := key.Time.UTC()
		c.Time = &t
	}
	if key.Name != "" {
		c.Name = &key.Name
	}
	if key.UUID != uuid.Nil {
		c.UUID = &key.UUID
	} else {
		c.Int = &key.Int
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		// Only a year beyond 9999 has no JSON form, and none is stored.
		panic("api: a sort key has no JSON form: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(encoded)
}

var errCursor = errors.New("is not a cursor of this list")

// DecodeCursor returns the key inside a cursor. It refuses what was not made by
// EncodeCursor for a list of this order, and a cursor of other filters.
func DecodeCursor(text string, digest []byte, order Order) (SortKey, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return SortKey{}, errCursor
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var c cursor
	if err := dec.Decode(&c); err != nil || dec.More() {
		return SortKey{}, errCursor
	}
	if !bytes.Equal(c.Digest, digest) {
		return SortKey{}, errors.New("belongs to other filters or another list; begin without a cursor")
	}
	timed := order == NewestFirst || order == NewestFirstByInt
	if timed != (c.Time != nil) || (order == NewestFirst) != (c.UUID != nil) || (order == NewestFirst) == (c.Int != nil) {
		return SortKey{}, errCursor
	}
	var key SortKey
	if c.Time != nil {
		if key.Time = c.Time.UTC(); key.Time.Year() < 1 || key.Time.Year() > 9999 {
			return SortKey{}, errCursor
		}
	}
	if c.Name != nil {
		if key.Name = *c.Name; CheckText(key.Name) != "" {
			return SortKey{}, errCursor
		}
	}
	if c.UUID != nil {
		key.UUID = *c.UUID
	}
	if c.Int != nil {
		key.Int = *c.Int
	}
	return key, nil
}

// Page is the body of every list. Its schema is named after its items:
// Page[ExecutedObsUnit] is ExecutedObsUnitPage.
type Page[T any] struct {
	Items      []T     `json:"items" doc:"The records of this page."`
	NextCursor *string `json:"next_cursor" doc:"Give it as cursor for the next page; null on the last one."`
	Total      *int64  `json:"total" doc:"How many records match in all, with count=true; else null, and while only pending records can be shown (X-Overlay: pending-only)."`
}

// PageOutput is the output of a list operation.
type PageOutput[T any] struct {
	ReadAt
	Link string `header:"Link" doc:"rel=\"next\": the next page."`
	Body Page[T]
}

// NewPage returns the answer of a list: its items, the key of the last one when
// more follow (else nil), and the total when the client asked for it (else nil).
func NewPage[T any](in List, items []T, last *SortKey, total *int64) *PageOutput[T] {
	if items == nil {
		items = []T{}
	}
	out := &PageOutput[T]{Body: Page[T]{Items: items, Total: total}}
	if last == nil {
		return out
	}
	next := in.Next(*last)
	out.Body.NextCursor = &next
	query := url.Values{}
	for name, values := range in.state.query {
		query[name] = values
	}
	query.Set("cursor", next)
	out.Link = "<" + in.state.path + "?" + query.Encode() + `>; rel="next"`
	return out
}
