package observations

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

var tags = []string{"operations", "observations"}

// executionFilters are the query parameters of lists of executions.
var executionFilters = api.NewFilters(
	api.Enum("status", "running", "completed", "aborted", "failed"),
	api.Int("obs_unit_id").Doc("The planned unit."),
	api.Joined(api.Int("observing_program_id")).Doc("The programme of the unit."),
	api.Joined(api.Int("instrument_id")).Doc("The instrument of the unit."),
	api.Joined(api.Int("source_id")).Doc("The source of the unit."),
	api.Joined(api.String("site")).Doc("Short name of the site where it was filed."),
	api.Time("start_time"),
	api.Nullable(api.Time("end_time")),
	api.Nullable(api.Number("pwv_mm")),
	api.Text("comment"),
	api.Cone(),
	api.Search().Doc("In comment, unit, programme, source and its aliases."),
)

// unitFilters are executionFilters where the path says the unit.
var unitFilters = api.NewFilters(
	api.Enum("status", "running", "completed", "aborted", "failed"),
	api.Joined(api.String("site")).Doc("Short name of the site where it was filed."),
	api.Time("start_time"),
	api.Nullable(api.Time("end_time")),
	api.Nullable(api.Number("pwv_mm")),
	api.Text("comment"),
)

// executionID is the id of an execution in a path. Clients of the obs unit's
// list know integers: they are told where those belong.
type executionID struct{ uuid.UUID }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *executionID) UnmarshalText(text []byte) error {
	parsed, err := uuid.Parse(string(text))
	if err == nil && len(text) == len(parsed.String()) {
		id.UUID = parsed
		return nil
	}
	if _, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return errors.New("an execution has a UUID, an obs unit's executions are at /obs_unit/{id}/executed_obs_units")
	}
	return errors.New("must be a UUID of 36 characters, with hyphens")
}

// Schema implements huma.SchemaProvider.
func (executionID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "uuid"}
}

type (
	startInput struct {
		api.Write
		Body ExecutedObsUnitStart
	}
	finishInput struct {
		api.Write
		api.IfMatch
		ID   executionID `path:"id" doc:"The execution."`
		Body ExecutedObsUnitFinish
	}
	patchInput struct {
		api.Write
		api.IfMatch
		ID   executionID `path:"id" doc:"The execution."`
		Body ExecutedObsUnitPatch
	}
	listExecutionsInput     struct{ api.List }
	listUnitExecutionsInput struct {
		api.List
		ID int64 `path:"id" doc:"The obs unit."`
	}
	getExecutionInput struct {
		api.Read
		api.IfNoneMatch
		ID executionID `path:"id" doc:"The execution."`
	}
	startOutput struct {
		api.Versioned
		api.Written
		Location string `header:"Location" doc:"Where the execution is."`
		Body     ExecutedObsUnit
	}
	executionOutput struct {
		api.Versioned
		api.Written
		Body ExecutedObsUnit
	}
	executionDetailOutput struct {
		api.Versioned
		api.ReadAt
		Body ExecutedObsUnitDetail
	}
)

// Register adds the operations of the module to a router.
func (m *Module) Register(r *api.Router) {
	m.registerExecutions(r)
	m.registerFiles(r)
	m.registerPackages(r)
}

func (m *Module) registerExecutions(r *api.Router) {
	api.Register(r, api.Op{ID: "start-executed-obs-unit", Method: http.MethodPost, Path: "/executed_obs_units/start", Status: http.StatusCreated,
		Summary: "Start an execution", Permission: "write:observations", Critical: true, Tags: tags,
		Description: "Records that an obs unit is being observed. Nothing about planning refuses it: not availability, not another running execution, not a slot.",
		Problems:    []*problem.Kind{problem.IDTaken}}, m.start)
	api.Register(r, api.Op{ID: "finish-executed-obs-unit", Method: http.MethodPut, Path: "/executed_obs_units/{id}/finish",
		Summary: "Finish a running execution", Permission: "write:observations", Critical: true, Tags: tags,
		Description: "Works while the start is still buffered. An execution is finished once.",
		Problems:    []*problem.Kind{ObservationNotRunning, problem.NotFound, problem.VersionMismatch}}, m.finish)
	api.Register(r, api.Op{ID: "update-executed-obs-unit", Method: http.MethodPatch, Path: "/executed_obs_units/{id}",
		Summary: "Change comment or conditions of an execution", Permission: "write:observations", Critical: true, Tags: tags,
		Problems: []*problem.Kind{problem.NotFound, problem.VersionMismatch}}, m.patch)
	api.Register(r, api.Op{ID: "list-executed-obs-units", Method: http.MethodGet, Path: "/executed_obs_units",
		Summary: "List executions, newest first", Permission: "read:observations", Tags: tags,
		Filters: executionFilters, Order: api.NewestFirst}, m.listExecutions)
	api.Register(r, api.Op{ID: "list-executed-obs-units-of-obs-unit", Method: http.MethodGet, Path: "/obs_unit/{id}/executed_obs_units",
		Summary: "List the executions of an obs unit, newest first", Permission: "read:observations", Tags: []string{"ui", "observations"},
		Filters: unitFilters, Order: api.NewestFirst, Problems: []*problem.Kind{problem.NotFound}}, m.listUnitExecutions)
	api.Register(r, api.Op{ID: "get-executed-obs-unit", Method: http.MethodGet, Path: "/executed_obs_units/{id}",
		Summary: "Get an execution with its packages and files", Permission: "read:observations", Tags: tags,
		Problems: []*problem.Kind{problem.NotFound}}, m.getExecution)
}

func (m *Module) start(ctx context.Context, in *startInput) (*startOutput, error) {
	if in.Body.ID != nil {
		if err := api.CheckClientID("body.id", *in.Body.ID); err != nil {
			return nil, err
		}
	}
	if err := checkFree("body.conditions", in.Body.Conditions); err != nil {
		return nil, err
	}
	request := record.Request(ctx, in.Write)
	request.Apart = in.Body.ID == nil // its parents are no pending rows, and an id made here is nobody's
	receipt, err := m.carryOut(ctx, in.Write, request, func(ctx context.Context, tx *txn.Builder) error {
		return m.buildStart(ctx, tx, &in.Body)
	})
	if err != nil {
		return nil, err
	}
	out := &startOutput{Written: record.Written(receipt)}
	if out.Body, err = m.afterExecution(ctx, &found[db.GetExecutedObsUnitRow]{}, receipt); err != nil {
		return nil, err
	}
	out.Location = "/executed_obs_units/" + out.Body.ID.String()
	out.ETag = executionETag(out.Body, nil)
	return out, nil
}

func (m *Module) finish(ctx context.Context, in *finishInput) (*executionOutput, error) {
	if err := checkFree("body.conditions", in.Body.Conditions); err != nil {
		return nil, err
	}
	var f *found[db.GetExecutedObsUnitRow]
	receipt, err := m.write(ctx, in.Write, func(ctx context.Context, tx *txn.Builder) (err error) {
		f, err = m.buildFinish(ctx, tx, in.ID.UUID, version{in.IfMatch}, &in.Body)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m.changedExecution(ctx, f, receipt)
}

func (m *Module) patch(ctx context.Context, in *patchInput) (*executionOutput, error) {
	if err := checkFree("body.conditions", in.Body.Conditions.Value); err != nil {
		return nil, err
	}
	var f *found[db.GetExecutedObsUnitRow]
	receipt, err := m.write(ctx, in.Write, func(ctx context.Context, tx *txn.Builder) (err error) {
		f, err = m.buildPatch(ctx, tx, in.ID.UUID, version{in.IfMatch}, &in.Body)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m.changedExecution(ctx, f, receipt)
}

func (m *Module) changedExecution(ctx context.Context, f *found[db.GetExecutedObsUnitRow], receipt txn.Receipt) (*executionOutput, error) {
	execution, err := m.afterExecution(ctx, f, receipt)
	if err != nil {
		return nil, err
	}
	return &executionOutput{
		Versioned: api.Versioned{ETag: executionETag(execution, nil)},
		Written:   record.Written(receipt),
		Body:      execution,
	}, nil
}

// afterExecution is the record that a write is answered with. A repeated request
// gets the record as it is by now: its first answer may be long past.
func (m *Module) afterExecution(ctx context.Context, f *found[db.GetExecutedObsUnitRow], receipt txn.Receipt) (ExecutedObsUnit, error) {
	id := changed(receipt, tableExecution)
	if receipt.Replayed {
		now, sync, err := present(ctx, m, receipt, tableExecution, id, getExecution)
		if err != nil {
			return ExecutedObsUnit{}, err
		}
		return m.showExecution(now, id, sync)
	}
	if err := f.overlay(receipt.Changes, tableExecution, id); err != nil {
		return ExecutedObsUnit{}, err
	}
	return m.showExecution(f, id, receipt.Sync)
}

// executionETag is the version of an execution. Only its own columns guard a
// change; free JSON counts by its meaning, for jsonb writes it in its own way.
// parts is what the answer has besides the record, nil for nothing.
func executionETag(own ExecutedObsUnit, parts any) string {
	rest := struct {
		Sync  *pending.Sync
		Site  *string
		Parts any
	}{own.Sync, own.Site, parts}
	own.Sync, own.Site = nil, nil
	own.Conditions = canonical(own.Conditions)
	return api.ETag(own, rest)
}

func (m *Module) listExecutions(ctx context.Context, in *listExecutionsInput) (*api.PageOutput[ExecutedObsUnit], error) {
	return m.executions(ctx, in.List, pageOf(in.List, "obs_unit_id"), nil)
}

func (m *Module) listUnitExecutions(ctx context.Context, in *listUnitExecutionsInput) (*api.PageOutput[ExecutedObsUnit], error) {
	page := pageOf(in.List)
	page.Path, page.Parent = "obs_unit_id", in.ID
	out, err := m.executions(ctx, in.List, page, []int64{in.ID})
	if err != nil || len(out.Body.Items) > 0 || out.Overlay == pendingOnly {
		return out, err
	}
	// Nothing found: is it the unit that does not exist?
	return out, m.read(ctx, in.Read, func(ctx context.Context, s *pending.Snapshot) error {
		there, err := db.New(s.DB).FindObsUnit(ctx, in.ID)
		if err == nil && !there {
			return problem.NotFound.Field("path.id", in.ID, "there is no such obs unit")
		}
		return err
	})
}

// executions answers a page of executions; units, when given, are the only ones.
func (m *Module) executions(ctx context.Context, in api.List, page pending.Page, units []int64) (*api.PageOutput[ExecutedObsUnit], error) {
	rows := db.ListExecutedObsUnitsParams{ObsUnitID: units}
	count := db.CountExecutedObsUnitsParams{ObsUnitID: units}
	if err := fill(in, &rows, &count); err != nil {
		return nil, err
	}
	return lister[db.ListExecutedObsUnitsRow, ExecutedObsUnit]{
		table: tableExecution,
		rows: func(ctx context.Context, s *pending.Snapshot, q merged) ([]db.ListExecutedObsUnitsRow, error) {
			rows.Pending, rows.Replaced, rows.PageSize = q.pending, q.replaced, q.size
			rows.AfterTime, rows.AfterID = cursor(q.after)
			rows.BoundTime, rows.BoundID = cursor(q.bound)
			return db.New(s.DB).ListExecutedObsUnits(ctx, rows)
		},
		count: func(ctx context.Context, s *pending.Snapshot, q merged) (int64, error) {
			count.Pending, count.Replaced = q.pending, q.replaced
			return db.New(s.DB).CountExecutedObsUnits(ctx, count)
		},
		show: func(row *db.ListExecutedObsUnitsRow, sync pending.Sync) ExecutedObsUnit {
			one := db.GetExecutedObsUnitRow(*row)
			return m.executionRecord(&one, sync)
		},
		place: func(row *db.ListExecutedObsUnitsRow) pending.Cursor {
			return pending.Cursor{Time: row.StartTime, ID: row.ID}
		},
	}.list(ctx, m, in, page)
}

func (m *Module) getExecution(ctx context.Context, in *getExecutionInput) (*executionDetailOutput, error) {
	out := &executionDetailOutput{}
	err := m.read(ctx, in.Read, func(ctx context.Context, s *pending.Snapshot) error {
		row, err := getExecution(ctx, s, in.ID.UUID)
		if err != nil {
			return absent(s, err, tableExecution, in.ID.UUID)
		}
		out.Body.ExecutedObsUnit = m.executionRecord(&row, s.Sync(tableExecution, row.ID))
		out.ReplayLSN = s.ReplayLSN
		out.SetOverlayUnavailable(s.OverlayUnavailable)
		return executionParts(ctx, s, in.ID.UUID, &out.Body)
	})
	if isUnreachable(err) {
		err = m.pendingExecution(ctx, in.ID.UUID, err, out)
	}
	if err != nil {
		return nil, err
	}
	out.ETag = executionETag(out.Body.ExecutedObsUnit, out.Body)
	return out, in.Unchanged(out.ETag)
}
