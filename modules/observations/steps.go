package observations

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// The buffered tables of this module.
const (
	tableExecution = "executed_obs_unit"
	tableModule    = "executed_obs_unit_module"
	tableFile      = "raw_data_file"
	tablePackage   = "raw_data_package"
	tableMetadata  = "raw_data_package_metadata"
	tableCopy      = "physical_copy"
)

// Steps returns one value of each step of this module, for the catalog.
func Steps() []txn.Step {
	return []txn.Step{
		Start{}, AddModule{}, Finish{}, Patch{},
		CreateFile{}, CreateFiles{}, LinkFiles{}, CreateFileCopy{}, CreateFileCopies{},
		CreatePackage{}, SetPackageMetadata{}, FinalizePackage{},
	}
}

// Tables returns the buffered tables of this module, for the view of pending rows:
// what orders them, and by which parents they are listed.
func Tables() []pending.Table {
	return []pending.Table{
		{Name: tableExecution, Time: "start_time", Paths: []string{"obs_unit_id", "status"}, Fixed: []string{"obs_unit_id"}},
		{Name: tableModule, Time: "created_at", Paths: []string{"executed_obs_unit_id"}, Fixed: []string{"executed_obs_unit_id"}},
		{Name: tableFile, Time: "created_at", Paths: []string{"executed_obs_unit_id", "raw_data_package_id"},
			Fixed: []string{"executed_obs_unit_id", "instrument_module_id"}},
		{Name: tablePackage, Time: "created_at", Paths: []string{"executed_obs_unit_id"},
			Fixed: []string{"executed_obs_unit_id", "instrument_module_id"}},
		{Name: tableMetadata, Time: "created_at"},
		{Name: tableCopy, Time: "created_at", Paths: []string{"raw_data_file_id"}, Fixed: []string{"raw_data_file_id"}},
	}
}

// Start records an execution that has begun.
type Start db.StartExecutedObsUnitParams

// Kind implements txn.Step.
func (Start) Kind() string { return "executed_obs_units.start/1" }

// Apply implements txn.Step.
func (s Start) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).StartExecutedObsUnit(ctx, db.StartExecutedObsUnitParams(s))
}

// Rows implements txn.Step.
func (s Start) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableExecution, s.ID, s)}
}

// AddModule names a module configuration that takes part in an execution.
type AddModule db.AddExecutedObsUnitModuleParams

// Kind implements txn.Step.
func (AddModule) Kind() string { return "executed_obs_units.add_module/1" }

// Apply implements txn.Step.
func (s AddModule) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).AddExecutedObsUnitModule(ctx, db.AddExecutedObsUnitModuleParams(s))
}

// Rows implements txn.Step.
func (s AddModule) Rows() []pending.Change {
	id := pending.ModuleRowID(s.ExecutedObsUnitID, s.InstrumentModuleConfigurationID)
	return []pending.Change{txn.Create(tableModule, id, s, pending.Key{Table: tableExecution, ID: s.ExecutedObsUnitID})}
}

// Finish closes a running execution. Applied to one that is no longer running it
// fails, so a late finish cannot overwrite a newer state.
type Finish struct {
	db.FinishExecutedObsUnitParams
	executionColumns
}

// executionColumns are what never changes of an execution and puts it into its
// place in lists; null when the execution could not be read.
type executionColumns struct {
	StartTime *time.Time `json:"start_time"`
	ObsUnitID *int64     `json:"obs_unit_id"`
}

func (c executionColumns) add(set map[string]any) {
	if c.StartTime != nil {
		set["start_time"] = c.StartTime
	}
	if c.ObsUnitID != nil {
		set["obs_unit_id"] = c.ObsUnitID
	}
}

// Kind implements txn.Step.
func (Finish) Kind() string { return "executed_obs_units.finish/1" }

// Apply implements txn.Step.
func (s Finish) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).FinishExecutedObsUnit(ctx, s.FinishExecutedObsUnitParams)
}

// Rows implements txn.Step.
func (s Finish) Rows() []pending.Change {
	set := map[string]any{"status": s.Status, "end_time": s.EndTime, "updated_at": s.UpdatedAt}
	optional(set, "mean_azimuth_deg", s.SetMeanAzimuthDeg, s.MeanAzimuthDeg)
	optional(set, "mean_elevation_deg", s.SetMeanElevationDeg, s.MeanElevationDeg)
	optional(set, "pwv_mm", s.SetPwvMm, s.PwvMm)
	optional(set, "conditions", s.SetConditions, s.Conditions)
	optional(set, "comment", s.SetComment, s.Comment)
	optional(set, "version", s.SetVersion, s.Version)
	s.executionColumns.add(set)
	return []pending.Change{txn.Update(tableExecution, s.ID, set)}
}

// Refusal implements txn.Refuser.
func (s Finish) Refusal() *problem.Kind {
	return refusal(s.ExpectedVersion, ObservationNotRunning)
}

// Patch changes the comment or the conditions of an execution, whatever its status.
type Patch struct {
	db.PatchExecutedObsUnitParams
	executionColumns
}

// Kind implements txn.Step.
func (Patch) Kind() string { return "executed_obs_units.patch/1" }

// Apply implements txn.Step.
func (s Patch) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).PatchExecutedObsUnit(ctx, s.PatchExecutedObsUnitParams)
}

// Rows implements txn.Step.
func (s Patch) Rows() []pending.Change {
	set := map[string]any{"updated_at": s.UpdatedAt}
	optional(set, "conditions", s.SetConditions, s.Conditions)
	optional(set, "comment", s.SetComment, s.Comment)
	optional(set, "version", s.SetVersion, s.Version)
	s.executionColumns.add(set)
	return []pending.Change{txn.Update(tableExecution, s.ID, set)}
}

// Refusal implements txn.Refuser.
func (s Patch) Refusal() *problem.Kind {
	return refusal(s.ExpectedVersion, problem.NotFound)
}

// CreatePackage opens a package for files of one execution and instrument module.
type CreatePackage db.CreateRawDataPackageParams

// Kind implements txn.Step.
func (CreatePackage) Kind() string { return "raw_data_packages.create/1" }

// Apply implements txn.Step.
func (s CreatePackage) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).CreateRawDataPackage(ctx, db.CreateRawDataPackageParams(s))
}

// Rows implements txn.Step.
func (s CreatePackage) Rows() []pending.Change {
	return []pending.Change{txn.Create(tablePackage, s.ID, s, pending.Key{Table: tableExecution, ID: s.ExecutedObsUnitID})}
}

// SetPackageMetadata stores what is known about a new package beside its files.
type SetPackageMetadata db.CreateRawDataPackageMetadataParams

// Kind implements txn.Step.
func (SetPackageMetadata) Kind() string { return "raw_data_packages.set_metadata/1" }

// Apply implements txn.Step.
func (s SetPackageMetadata) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).CreateRawDataPackageMetadata(ctx, db.CreateRawDataPackageMetadataParams(s))
}

// Rows implements txn.Step.
func (s SetPackageMetadata) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableMetadata, s.RawDataPackageID, s, pending.Key{Table: tablePackage, ID: s.RawDataPackageID})}
}

// FinalizePackage completes a package that is still being built. Applied to one
// that is completed, failed or cancelled it fails.
type FinalizePackage struct {
	db.FinalizeRawDataPackageParams
	// What never changes of a package and puts it into its place in lists; null
	// when the package could not be read.
	CreatedAt          *time.Time `json:"created_at"`
	ExecutedObsUnitID  *uuid.UUID `json:"executed_obs_unit_id"`
	InstrumentModuleID *int64     `json:"instrument_module_id"`
}

// Kind implements txn.Step.
func (FinalizePackage) Kind() string { return "raw_data_packages.finalize/1" }

// Apply implements txn.Step.
func (s FinalizePackage) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).FinalizeRawDataPackage(ctx, s.FinalizeRawDataPackageParams)
}

// Rows implements txn.Step.
func (s FinalizePackage) Rows() []pending.Change {
	set := map[string]any{
		"status": s.Status, "size_bytes": s.SizeBytes, "checksum_algorithm": s.ChecksumAlgorithm,
		"checksum": s.Checksum, "updated_at": s.UpdatedAt,
	}
	optional(set, "file_count", s.SetFileCount, s.FileCount)
	optional(set, "version", s.SetVersion, s.Version)
	optional(set, "created_at", s.CreatedAt != nil, s.CreatedAt)
	optional(set, "executed_obs_unit_id", s.ExecutedObsUnitID != nil, s.ExecutedObsUnitID)
	optional(set, "instrument_module_id", s.InstrumentModuleID != nil, s.InstrumentModuleID)
	return []pending.Change{txn.Update(tablePackage, s.ID, set)}
}

// Refusal implements txn.Refuser.
func (s FinalizePackage) Refusal() *problem.Kind {
	return refusal(s.ExpectedVersion, PackageNotOpen)
}

// optional names a column only when the step sets it: a finish that says nothing
// about the comment must not bring an old one back.
func optional(set map[string]any, column string, given bool, value any) {
	if !given {
		return
	}
	if raw, ok := value.(json.RawMessage); ok && raw == nil {
		value = nil
	}
	set[column] = value
}

// refusal says what it means that an update changed no row. A version that is
// expected and not found explains it before the state does, for every change of
// state is a new version.
func refusal(expected *int32, state *problem.Kind) *problem.Kind {
	if expected != nil {
		return problem.VersionMismatch
	}
	return state
}
