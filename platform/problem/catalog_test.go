package problem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
)

var fileExists = &Kind{Code: "file-exists", Title: "The file is recorded already", Status: 409, Doc: "Same path."}

func catalog(t *testing.T) *Catalog {
	t.Helper()
	c, err := NewCatalog(Set{
		Kinds: []*Kind{notRunning, fileExists},
		Constraints: map[string]Constraint{
			"raw_data_file_path_key":       {Kind: fileExists, Field: "body.relative_path", Message: "recorded already"},
			"executed_obs_unit_times":      {Kind: Invalid, Field: "body.end_time", Message: "is before the start"},
			"executed_obs_unit_no_message": {Kind: notRunning},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogReportsEveryFault(t *testing.T) {
	_, err := NewCatalog(
		Set{Kinds: []*Kind{notRunning, {Code: "Bad Code", Title: "t", Doc: "d", Status: 400}}, Constraints: map[string]Constraint{"a": {Kind: Invalid}}},
		Set{Kinds: []*Kind{notRunning, {Code: "no-doc", Title: "t", Status: 400}}, Constraints: map[string]Constraint{"a": {Kind: Invalid}, "b": {Kind: fileExists}}},
	)
	if err == nil {
		t.Fatal("a faulty catalog is accepted")
	}
	for _, part := range []string{"not kebab-case", "observation-not-running is declared twice", "no-doc lacks", "constraint a is mapped twice", "constraint b means a problem that is not declared"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
}

func TestFromPostgres(t *testing.T) {
	c := catalog(t)
	const internal = "relation secret_table"
	for _, test := range []struct {
		pg   pgconn.PgError
		want *Kind
	}{
		{pgconn.PgError{Code: "23505", ConstraintName: "raw_data_file_path_key"}, fileExists},
		{pgconn.PgError{Code: "23514", ConstraintName: "executed_obs_unit_times"}, Invalid},
		{pgconn.PgError{Code: "23514", ConstraintName: "executed_obs_unit_no_message"}, notRunning},
		{pgconn.PgError{Code: "23514", ConstraintName: "unknown"}, ConstraintViolated},
		{pgconn.PgError{Code: "23502", ColumnName: "name"}, ConstraintViolated},
		{pgconn.PgError{Code: "22P05", Message: "unsupported Unicode escape sequence"}, InvalidValue},
		{pgconn.PgError{Code: "OP001"}, StateConflict},
		{pgconn.PgError{Code: "OP002", Message: internal}, Internal},
		{pgconn.PgError{Code: "40001", Message: internal}, DatabaseBusy},
		{pgconn.PgError{Code: "55P03", Message: internal}, DatabaseBusy},
		{pgconn.PgError{Code: "57014", Message: internal}, DatabaseBusy},
		{pgconn.PgError{Code: "53300", Message: internal}, DatabaseBusy},
		{pgconn.PgError{Code: "08006", Message: internal}, MainUnreachable},
		{pgconn.PgError{Code: "57P01", Message: internal}, MainUnreachable},
		{pgconn.PgError{Code: "25006", Message: internal}, MainUnreachable},
		{pgconn.PgError{Code: "42P01", Message: internal}, Internal},
		{pgconn.PgError{Code: "XX000", Message: internal}, Internal},
		{pgconn.PgError{Code: "", Message: internal}, Internal},
	} {
		p := c.FromPostgres(fmt.Errorf("applying: %w", &test.pg))
		if !errors.Is(p, test.want) {
			t.Errorf("%s: got %s, want %s", test.pg.Code, p.Code(), test.want.Code)
		}
		if p.Status >= 500 && strings.Contains(p.Error(), internal) {
			t.Errorf("%s: a %d shows internal text: %s", test.pg.Code, p.Status, p.Detail)
		}
	}
	if p := c.FromPostgres(errors.New("other")); p != nil {
		t.Errorf("an error of something else became %v", p)
	}
}

func TestViolationNamesFieldAndValue(t *testing.T) {
	p := catalog(t).FromPostgres(&pgconn.PgError{Code: "23505", ConstraintName: "raw_data_file_path_key",
		Detail: "Key (executed_obs_unit_id, relative_path)=(5, a/b.fits) already exists."})
	want := []FieldError{{Location: "body.relative_path", Message: "recorded already", Value: "5, a/b.fits"}}
	if diff := cmp.Diff(want, p.Errors); diff != "" {
		t.Error(diff)
	}
}

func TestFromNeverShowsInternalText(t *testing.T) {
	c := catalog(t)
	for _, test := range []struct {
		err  error
		want *Kind
	}{
		{errors.New("password=hunter2"), Internal},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), RequestTimeout},
		{io.ErrUnexpectedEOF, MainUnreachable},
		{NotFound, NotFound},
		{fmt.Errorf("hunter2: %w", fileExists.New("there")), fileExists},
	} {
		p := c.From(test.err)
		if !errors.Is(p, test.want) || strings.Contains(p.Error(), "hunter2") {
			t.Errorf("%v: got %v, want %s", test.err, p, test.want.Code)
		}
	}
	if c.From(nil) != nil {
		t.Error("nil became a problem")
	}
}

func TestClassOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want Class
	}{
		{&pgconn.PgError{Code: "OP001"}, Data},
		{&pgconn.PgError{Code: "OP002"}, Fault},
		{&pgconn.PgError{Code: "22003"}, Data},
		{&pgconn.PgError{Code: "23503"}, Data},
		{&pgconn.PgError{Code: "25006"}, Fault},
		{&pgconn.PgError{Code: "28P01"}, Fault},
		{&pgconn.PgError{Code: "42501"}, Fault},
		{&pgconn.PgError{Code: "57P03"}, Retry},
		{&pgconn.PgError{Code: "57014"}, Retry},
		{&pgconn.PgError{Code: "40P01"}, Retry},
		{&pgconn.PgError{Code: "55P03"}, Retry},
		{&pgconn.PgError{Code: "53100"}, Retry},
		{&pgconn.PgError{Code: "08P01"}, Retry},
		{&pgconn.PgError{Code: ""}, Fault},
		{&net.OpError{Op: "read", Err: errors.New("x")}, Retry},
		{io.EOF, Retry},
		{pgconn.ErrConnClosed, Retry},
		{context.DeadlineExceeded, Retry},
		{notRunning.New("x"), Data},
		{BufferFull.New("x"), Retry},
		{Internal.New("x"), Fault},
		{errors.New("can't scan"), Fault},
	} {
		if got := ClassOf(fmt.Errorf("w: %w", test.err)); got != test.want {
			t.Errorf("%v: got %v, want %v", test.err, got, test.want)
		}
	}
}
