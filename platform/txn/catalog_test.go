package txn_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

type broken struct{ statements int }

func (b broken) Kind() string { return "things.break/1" }

func (b broken) Apply(ctx context.Context, db txn.DBTX) error {
	for range b.statements {
		if _, err := db.Exec(ctx, "SELECT 1"); err != nil {
			return err
		}
	}
	return nil
}

func (broken) Rows() []pending.Change { return nil }

type reading struct{ broken }

func (reading) Apply(ctx context.Context, db txn.DBTX) error {
	var n int
	return db.QueryRow(ctx, "SELECT 1").Scan(&n)
}

type badKind struct{ broken }

func (badKind) Kind() string { return "Things/one" }

func TestCatalogRefusesStepsThatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		steps []txn.Step
		want  string
	}{
		"no statement":   {[]txn.Step{broken{0}}, "ran 0 statements"},
		"two statements": {[]txn.Step{broken{2}}, "ran 2 statements"},
		"a read":         {[]txn.Step{reading{}}, ":exec"},
		"a bad kind":     {[]txn.Step{badKind{}}, "<resource>.<verb>/<version>"},
		"a pointer":      {[]txn.Step{&broken{1}}, "not a pointer"},
		"a double":       {[]txn.Step{broken{1}, broken{1}}, "registered already"},
	} {
		if _, err := txn.NewCatalog(c.steps...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestDecodeIsStrict(t *testing.T) {
	catalog, err := txn.NewCatalog(txntest.Steps()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Decode(pending.Step{Kind: "notes.write/2", Data: json.RawMessage(`{}`)}); !errors.Is(err, pending.ErrUnknownKind) {
		t.Errorf("unknown kind: %v", err)
	}
	for _, data := range []string{`{"body":"x","added_later":1}`, `{"body":1}`, `{"body":"x"} {}`, `[]`, ``, `{`} {
		if s, err := catalog.Decode(pending.Step{Kind: "notes.write/1", Data: json.RawMessage(data)}); err == nil {
			t.Errorf("%s read as %+v", data, s)
		}
	}
}

func TestStoredStepsComeBackAsTheyWere(t *testing.T) {
	catalog, err := txn.NewCatalog(txntest.Steps()...)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := txntest.Write{ID: uuid.New(), Body: rapid.String().Draw(t, "body"), Status: "open", CreatedAt: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "at")).UTC()}
		if rapid.Bool().Draw(t, "answers") {
			parent := uuid.New()
			want.ParentID = &parent
		}
		stored, err := catalog.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := catalog.Decode(stored)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-stored +read:\n%s", diff)
		}
	})
}

func FuzzDecode(f *testing.F) {
	catalog, err := txn.NewCatalog(txntest.Steps()...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("notes.write/1", []byte(`{"id":"0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c","parent_id":null,"body":"x","status":"open","created_at":"2026-07-15T00:00:00Z"}`))
	f.Add("notes.edit/1", []byte(`{"id":"0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c","body":"x","status":"open"}`))
	f.Add("notes.write_many/1", []byte(`{"ids":[],"bodies":[],"created_at":"2026-07-15T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		step, err := catalog.Decode(pending.Step{Kind: kind, Data: data})
		if err != nil {
			return
		}
		again, err := catalog.Encode(step)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", data, err)
		}
		if _, err := catalog.Decode(again); err != nil {
			t.Fatalf("%q was written and cannot be read: %v", again.Data, err)
		}
	})
}

func TestDependencies(t *testing.T) {
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	created := []pending.Change{txn.Create("note", a, map[string]any{})}
	edited := []pending.Change{txn.Update("note", b, map[string]any{"body": "x"})}
	var d txn.Dependencies
	if !d.Empty() || d.Of(9, created) != nil {
		t.Error("the zero value is not empty")
	}
	d.Add(1, 1, created)
	d.Add(2, 2, edited)
	refers := func(id uuid.UUID) []pending.Change {
		return []pending.Change{txn.Create("file", c, map[string]any{}, pending.Key{Table: "note", ID: id})}
	}
	for name, got := range map[string][]int64{
		"touches a created row":           d.Of(3, []pending.Change{txn.Delete("note", a)}),
		"touches an edited row":           d.Of(3, []pending.Change{txn.Update("note", b, nil)}),
		"refers to a created row":         d.Of(3, refers(a)),
		"refers to an edited row":         d.Of(3, refers(b)),
		"the same id in another table":    d.Of(3, []pending.Change{txn.Update("file", a, nil)}),
		"an earlier one does not depend":  d.Of(1, []pending.Change{txn.Update("note", a, nil)}),
		"both, of which each counts once": d.Of(3, append(refers(a), txn.Update("note", a, nil), txn.Update("note", b, nil))),
	} {
		want := map[string][]int64{
			"touches a created row": {1}, "touches an edited row": {2}, "refers to a created row": {1}, "both, of which each counts once": {1, 2},
		}[name]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestLedgerProblemsAreMapped(t *testing.T) {
	if txn.Problems.Constraints[txn.IdempotencyKey].Kind != problem.IdempotencyKeyReused {
		t.Error("a buffered transaction whose key main has seen must say so")
	}
}
