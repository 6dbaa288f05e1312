package observations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// buildStart puts together the steps of a new execution. Nothing about planning
// refuses it: what the telescope does is recorded as it is.
func (m *Module) buildStart(ctx context.Context, tx *txn.Builder, body *ExecutedObsUnitStart) error {
	step := Start{
		ID:                 tx.NewID(),
		ObsUnitID:          body.ObsUnitID,
		AzimuthRangeID:     body.AzimuthRangeID,
		PreScheduledSlotID: body.PreScheduledSlotID,
		Status:             db.ExecutionStatusRunning,
		StartTime:          api.Or(body.StartTime, tx.Now()),
		Conditions:         object(body.Conditions),
		Comment:            api.Or(body.Comment, ""),
		RecordedBy:         tx.UserID(),
		OriginSiteID:       tx.SiteID(),
		Version:            1,
		CreatedAt:          tx.Now(),
		UpdatedAt:          tx.Now(),
	}
	if body.ID != nil {
		step.ID = *body.ID
		tx.ClientID(step.ID)
	}
	modules := slices.Compact(slices.Sorted(slices.Values(body.ModuleConfigurationIDs)))
	if err := tx.Check(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		return checkStart(ctx, s, &step, modules, body.ID != nil)
	}); err != nil {
		return err
	}
	tx.Add(step)
	for _, id := range modules {
		tx.Add(AddModule{ExecutedObsUnitID: step.ID, InstrumentModuleConfigurationID: id, CreatedAt: tx.Now()})
	}
	return nil
}

// checkStart refuses parents that do not exist, and an id of the client's that does.
func checkStart(ctx context.Context, s *pending.Snapshot, step *Start, modules []int64, chosen bool) error {
	refs, err := db.New(s.DB).FindStartReferences(ctx, db.FindStartReferencesParams{
		ObsUnitID: step.ObsUnitID, AzimuthRangeID: step.AzimuthRangeID, PreScheduledSlotID: step.PreScheduledSlotID,
		ID: step.ID, ModuleConfigurationIds: modules,
	})
	if err != nil {
		return err
	}
	var wrong faults
	if !refs.ObsUnit {
		wrong.add("body.obs_unit_id", step.ObsUnitID, "there is no such obs unit")
	}
	if step.AzimuthRangeID != nil && !refs.AzimuthRange {
		wrong.add("body.azimuth_range_id", *step.AzimuthRangeID, "there is no such azimuth range")
	}
	if step.PreScheduledSlotID != nil && !refs.PreScheduledSlot {
		wrong.add("body.pre_scheduled_slot_id", *step.PreScheduledSlotID, "there is no such slot")
	}
	for _, id := range modules {
		if !slices.Contains(refs.ModuleConfigurations, id) {
			wrong.add("body.module_configuration_ids", id, "there is no such module configuration")
		}
	}
	if err := wrong.problem(); err != nil {
		return err
	}
	if chosen && (refs.Taken || isPending(s.View, tableExecution, step.ID)) {
		return problem.IDTaken.Field("body.id", step.ID.String(), "another execution has this id")
	}
	return nil
}

// buildFinish closes an execution that is running as far as this site knows.
func (m *Module) buildFinish(ctx context.Context, tx *txn.Builder, id uuid.UUID, match version, body *ExecutedObsUnitFinish) (*found[db.GetExecutedObsUnitRow], error) {
	f, err := find(ctx, m, tx, tableExecution, id, getExecution)
	if err != nil {
		return nil, err
	}
	step := Finish{FinishExecutedObsUnitParams: db.FinishExecutedObsUnitParams{
		ID: id, Status: db.ExecutionStatus(body.Status), EndTime: api.Or(body.EndTime, tx.Now()), UpdatedAt: tx.Now(),
		SetMeanAzimuthDeg: body.MeanAzimuthDeg != nil, MeanAzimuthDeg: body.MeanAzimuthDeg,
		SetMeanElevationDeg: body.MeanElevationDeg != nil, MeanElevationDeg: body.MeanElevationDeg,
		SetPwvMm: body.PwvMm != nil, PwvMm: body.PwvMm,
		SetConditions: len(body.Conditions) > 0, Conditions: body.Conditions,
		SetComment: body.Comment != nil, Comment: body.Comment,
	}}
	status, start := stateOf(&f)
	if err := match.check(f.whole, executionVersion(&f)); err != nil {
		return nil, err
	}
	if status != "" && status != string(db.ExecutionStatusRunning) {
		return nil, ObservationNotRunning.New("the execution is %s", status)
	}
	if start != nil && step.EndTime.Before(*start) {
		return nil, problem.Invalid.Field("body.end_time", step.EndTime, "it is before the start of the execution, %s", start.Format(time.RFC3339Nano))
	}
	if f.whole {
		step.SetVersion, step.Version = true, next(f.row.Version)
		step.executionColumns = executionColumns{StartTime: &f.row.StartTime, ObsUnitID: &f.row.ObsUnitID}
		if match.given() {
			step.ExpectedVersion, step.ExpectedUpdatedAt = &f.row.Version, &f.row.UpdatedAt
		}
	}
	tx.Add(step)
	return &f, nil
}

// buildPatch changes comment and conditions of an execution. Conditions merge as
// RFC 7396 says, so what they are must be known.
func (m *Module) buildPatch(ctx context.Context, tx *txn.Builder, id uuid.UUID, match version, body *ExecutedObsUnitPatch) (*found[db.GetExecutedObsUnitRow], error) {
	f, err := find(ctx, m, tx, tableExecution, id, getExecution)
	if err != nil {
		return nil, err
	}
	if err := match.check(f.whole, executionVersion(&f)); err != nil {
		return nil, err
	}
	step := Patch{PatchExecutedObsUnitParams: db.PatchExecutedObsUnitParams{ID: id, UpdatedAt: tx.Now()}}
	if body.Comment.Set {
		comment := api.Or(body.Comment.Ptr(), "")
		step.SetComment, step.Comment = true, &comment
	}
	if body.Conditions.Set {
		if !f.whole && !body.Conditions.Null {
			return nil, problem.ReplicaUnreachable.New("the replica is needed to merge the conditions and cannot be read now")
		}
		step.SetConditions = true
		if step.Conditions, err = mergePatch(f.row.Conditions, body.Conditions.Value); err != nil {
			return nil, err
		}
		if err := checkFree("body.conditions", step.Conditions); err != nil {
			return nil, err
		}
	}
	if f.whole {
		step.SetVersion, step.Version = true, next(f.row.Version)
		step.executionColumns = executionColumns{StartTime: &f.row.StartTime, ObsUnitID: &f.row.ObsUnitID}
		if match.given() {
			step.ExpectedVersion, step.ExpectedUpdatedAt = &f.row.Version, &f.row.UpdatedAt
		}
	}
	tx.Add(step)
	return &f, nil
}

// stateOf gives status and start of an execution as far as they are known.
func stateOf(f *found[db.GetExecutedObsUnitRow]) (status string, start *time.Time) {
	if f.whole {
		return string(f.row.Status), &f.row.StartTime
	}
	if len(f.columns) == 0 {
		return "", nil
	}
	var known ExecutedObsUnit
	if err := decode(f.columns, &known); err != nil {
		return "", nil
	}
	return api.Or(known.Status, ""), known.StartTime
}

// executionVersion is what If-Match compares: the record without its sync.
func executionVersion(f *found[db.GetExecutedObsUnitRow]) string {
	record := executionOf(&f.row, pending.Sync{})
	return executionETag(record, nil)
}

// showExecution is the record of what is known of an execution.
func (m *Module) showExecution(f *found[db.GetExecutedObsUnitRow], id uuid.UUID, sync pending.Sync) (ExecutedObsUnit, error) {
	if f.whole {
		return m.executionRecord(&f.row, sync), nil
	}
	record := ExecutedObsUnit{ID: id}
	if len(f.columns) > 0 {
		if err := decode(f.columns, &record); err != nil {
			return record, err
		}
	}
	record.ID, record.Sync = id, sync.Shown()
	return record, nil
}

// executionRecord shows a row. One that is not stored yet was filed at this site.
func (m *Module) executionRecord(row *db.GetExecutedObsUnitRow, sync pending.Sync) ExecutedObsUnit {
	if row.Site == nil {
		row.Site = &m.site
	}
	return executionOf(row, sync)
}

// executionParts reads what belongs to an execution.
func executionParts(ctx context.Context, s *pending.Snapshot, id uuid.UUID, detail *ExecutedObsUnitDetail) error {
	q := db.New(s.DB)
	own := pending.Page{Path: "executed_obs_unit_id", Parent: id}
	list, _ := params(s.All(tableModule, own))
	modules, err := q.ListExecutedObsUnitModules(ctx, db.ListExecutedObsUnitModulesParams{ExecutedObsUnitID: id, Pending: list})
	if err != nil {
		return fmt.Errorf("listing the modules of an execution: %w", err)
	}
	detail.ModuleConfigurationIDs = modules

	packages := db.ListRawDataPackagesParams{ExecutedObsUnitID: []uuid.UUID{id}, PageSize: detailPackages}
	packages.Pending, packages.Replaced = params(s.All(tablePackage, own))
	rows, err := q.ListRawDataPackages(ctx, packages)
	if err != nil {
		return fmt.Errorf("listing the packages of an execution: %w", err)
	}
	detail.Packages = make([]RawDataPackage, len(rows))
	for i := range rows {
		detail.Packages[i] = packageOf(&rows[i], s.Sync(tablePackage, rows[i].ID))
	}

	newest := own
	newest.Limit = detailFiles
	overlay := s.Page(tableFile, newest)
	files := db.ListRawDataFilesParams{ExecutedObsUnitID: []uuid.UUID{id}, PageSize: detailFiles}
	files.BoundTime, files.BoundID = cursor(overlay.Bound)
	if detail.Files, err = listFiles(ctx, s, overlay, files); err != nil {
		return err
	}
	overlay = s.Count(tableFile, own)
	count := db.CountRawDataFilesParams{ExecutedObsUnitID: []uuid.UUID{id}}
	count.Pending, count.Replaced = params(overlay)
	total, err := q.CountRawDataFiles(ctx, count)
	if err != nil {
		return fmt.Errorf("counting the files of an execution: %w", err)
	}
	detail.FileCount = total + overlay.Counted
	return nil
}

// pendingExecution answers a detail of pending rows alone, when the replica cannot
// be read and the execution is not stored yet; otherwise the refusal stays.
func (m *Module) pendingExecution(ctx context.Context, id uuid.UUID, refusal error, out *executionDetailOutput) error {
	view, err := m.reader.PendingOnly(ctx)
	if err != nil {
		return err
	}
	row, ok := view.Row(pending.Key{Table: tableExecution, ID: id})
	if !ok || !row.Create || row.Deleted {
		return refusal
	}
	var execution db.GetExecutedObsUnitRow
	if err := decode(row.Columns, &execution); err != nil {
		return err
	}
	own := pending.Page{Path: "executed_obs_unit_id", Parent: id}
	files := view.Created(tableFile, own)
	out.Overlay = pendingOnly
	out.Body = ExecutedObsUnitDetail{
		ExecutedObsUnit:        m.executionRecord(&execution, syncOf(row)),
		ModuleConfigurationIDs: []int64{},
		FileCount:              int64(len(files)),
	}
	for _, module := range view.Created(tableModule, own) {
		var m AddModule
		if err := decode(module.Columns, &m); err != nil {
			return err
		}
		out.Body.ModuleConfigurationIDs = append(out.Body.ModuleConfigurationIDs, m.InstrumentModuleConfigurationID)
	}
	slices.Sort(out.Body.ModuleConfigurationIDs)
	if out.Body.Packages, err = shown(view.Created(tablePackage, own), packageOf); err != nil {
		return err
	}
	out.Body.Files, err = shown(files[:min(len(files), detailFiles)], fileOf)
	return err
}

// shown turns pending rows that are whole into records.
func shown[R, T any](rows []pending.Row, show func(*R, pending.Sync) T) ([]T, error) {
	records := make([]T, len(rows))
	for i := range rows {
		row := new(R)
		if err := decode(rows[i].Columns, row); err != nil {
			return nil, err
		}
		records[i] = show(row, syncOf(rows[i]))
	}
	return records, nil
}

// object gives free JSON, {} when there is none.
func object(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return json.RawMessage("{}")
	}
	return raw
}

func next(version int32) *int32 {
	version++
	return &version
}

// isPending says whether a pending transaction creates the row.
func isPending(view pending.View, table string, id uuid.UUID) bool {
	row, ok := view.Row(pending.Key{Table: table, ID: id})
	return ok && row.Create && !row.Deleted
}

// faults collects what is wrong with the parts of a body.
type faults struct {
	kind *problem.Kind // nil: problem.Invalid
	p    *problem.Problem
}

func (f *faults) add(location string, value any, message string) {
	if f.p == nil && f.kind != nil {
		f.p = f.kind.New("%s", message)
	}
	if f.p == nil {
		f.p = problem.Invalid.New("the request is not valid")
	}
	f.p.AddField(location, value, "%s", message)
}

// problem returns what was collected, nil when nothing was.
func (f *faults) problem() error {
	if f.p == nil {
		return nil
	}
	return f.p
}
