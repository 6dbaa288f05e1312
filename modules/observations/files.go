package observations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// BulkFiles is how many files one bulk registration may have.
const BulkFiles = 10_000

// place gives the location of a member of the n-th file in the body.
type place func(n int, member string) string

func single(_ int, member string) string  { return "body." + member }
func listed(n int, member string) string  { return fmt.Sprintf("body[%d].%s", n, member) }
func onPath(f *RawDataFileCreate) pathKey { return pathKey{f.ExecutedObsUnitID, f.RelativePath} }
func textOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// pathKey is what is unique of a file in its execution.
type pathKey struct {
	execution uuid.UUID
	path      string
}

// checkFiles refuses what no database is needed for: names, paths and checksums that
// are none, times that run backwards, and files that occur twice in the body. It
// writes checksums in lower case.
func checkFiles(files []RawDataFileCreate, at place) error {
	var wrong faults
	paths := make(map[pathKey]int, len(files))
	ids := map[uuid.UUID]int{}
	for n := range files {
		f := &files[n]
		if message := pathFault(f.RelativePath); message != "" {
			wrong.add(at(n, "relative_path"), f.RelativePath, message)
		}
		if message := nameFault(f.Name); message != "" {
			wrong.add(at(n, "name"), f.Name, message)
		}
		if message := checksumFault(f.ChecksumAlgorithm, f.Checksum); message != "" {
			wrong.add(at(n, "checksum"), f.Checksum, message)
		}
		f.Checksum = strings.ToLower(f.Checksum)
		if f.StartTime != nil && f.EndTime != nil && f.EndTime.Before(*f.StartTime) {
			wrong.add(at(n, "end_time"), *f.EndTime, "it is before start_time")
		}
		if first, double := paths[onPath(f)]; double {
			wrong.add(at(n, "relative_path"), f.RelativePath, fmt.Sprintf("item %d has the same path in the same execution", first))
		} else {
			paths[onPath(f)] = n
		}
		if f.ID == nil {
			continue
		}
		if first, double := ids[*f.ID]; double {
			wrong.add(at(n, "id"), f.ID.String(), fmt.Sprintf("item %d has the same id", first))
		} else {
			ids[*f.ID] = n
		}
	}
	return wrong.problem()
}

// buildFiles puts together the steps that register files, in the order of the body.
func (m *Module) buildFiles(ctx context.Context, tx *txn.Builder, files []RawDataFileCreate, at place) error {
	ids := make([]uuid.UUID, len(files))
	for n := range files {
		if files[n].ID == nil {
			ids[n] = tx.NewID()
			continue
		}
		ids[n] = *files[n].ID
		tx.ClientID(ids[n])
	}
	if err := tx.Check(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		if len(files) > fewPaths {
			if err := s.Open(ctx, len(files)); err != nil { // the queries about so many files take their time
				return err
			}
		}
		if err := checkFileReferences(ctx, s, files, at); err != nil {
			return err
		}
		return checkFilePaths(ctx, s, files, at)
	}); err != nil {
		return err
	}
	if len(files) == 1 {
		addFile(tx, ids[0], &files[0])
	} else {
		addFiles(tx, ids, files)
	}
	return nil
}

// checkFileReferences refuses parents that do not exist and ids that do.
func checkFileReferences(ctx context.Context, s *pending.Snapshot, files []RawDataFileCreate, at place) error {
	executions, modules, locations, ids := set[uuid.UUID]{}, set[int64]{}, set[int64]{}, set[uuid.UUID]{}
	for n := range files {
		f := &files[n]
		executions[f.ExecutedObsUnitID] = true
		modules[f.InstrumentModuleID] = true
		if f.DataLocationID != nil {
			locations[*f.DataLocationID] = true
		}
		if f.ID != nil {
			ids[*f.ID] = true
		}
	}
	refs, err := db.New(s.DB).FindFileReferences(ctx, db.FindFileReferencesParams{
		ExecutedObsUnitIds: executions.list(), InstrumentModuleIds: modules.list(), DataLocationIds: locations.list(), Ids: ids.list(),
	})
	if err != nil {
		return err
	}
	for id := range executions {
		executions[id] = isPending(s.View, tableExecution, id)
	}
	executions.add(refs.Executions)
	modules, locations = setOf(refs.Modules), setOf(refs.Locations)
	taken := setOf(refs.Taken)
	var wrong, doubles faults
	for n := range files {
		f := &files[n]
		if !executions[f.ExecutedObsUnitID] {
			wrong.add(at(n, "executed_obs_unit_id"), f.ExecutedObsUnitID.String(), "there is no such execution")
		}
		if !modules[f.InstrumentModuleID] {
			wrong.add(at(n, "instrument_module_id"), f.InstrumentModuleID, "there is no such instrument module")
		}
		if f.DataLocationID != nil && !locations[*f.DataLocationID] {
			wrong.add(at(n, "data_location_id"), *f.DataLocationID, "there is no such data location")
		}
		if f.ID != nil && (taken[*f.ID] || isPending(s.View, tableFile, *f.ID)) {
			doubles.kind = problem.IDTaken
			doubles.add(at(n, "id"), f.ID.String(), "another file has this id")
		}
	}
	if err := wrong.problem(); err != nil {
		return err
	}
	return doubles.problem()
}

// fewPaths is up to how many paths the pending rows are searched for them one by
// one; for more of them all pending files of the executions travel.
const fewPaths = 100

// checkFilePaths refuses paths that their execution has already.
func checkFilePaths(ctx context.Context, s *pending.Snapshot, files []RawDataFileCreate, at place) error {
	want := db.FindRawDataFilePathsParams{}
	index := make(map[pathKey]int, len(files))
	byExecution := map[uuid.UUID][]any{}
	for n := range files {
		f := &files[n]
		want.ExecutedObsUnitIds = append(want.ExecutedObsUnitIds, f.ExecutedObsUnitID)
		want.RelativePaths = append(want.RelativePaths, f.RelativePath)
		byExecution[f.ExecutedObsUnitID] = append(byExecution[f.ExecutedObsUnitID], f.RelativePath)
		index[onPath(f)] = n
	}
	var all pending.Overlay
	for execution, paths := range byExecution {
		page := pending.Page{Path: "executed_obs_unit_id", Parent: execution}
		if len(paths) <= fewPaths {
			page.Filters = []pending.Filter{{Column: "relative_path", Op: "in", Values: paths}}
		}
		if err := join(&all, s.All(tableFile, page)); err != nil {
			return err
		}
	}
	want.Pending, want.Replaced = params(all)
	existing, err := db.New(s.DB).FindRawDataFilePaths(ctx, want)
	if err != nil {
		return err
	}
	wrong := faults{kind: FileExists}
	numbers := make([]int, 0, len(existing))
	for _, f := range existing {
		numbers = append(numbers, index[pathKey{f.ExecutedObsUnitID, f.RelativePath}])
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		wrong.add(at(n, "relative_path"), files[n].RelativePath, "the execution has a file with this path already")
	}
	return wrong.problem()
}

// join adds the rows of one overlay to another of the same table.
func join(all *pending.Overlay, more pending.Overlay) error {
	all.Replaced = append(all.Replaced, more.Replaced...)
	if len(all.Pending) <= len("[]") {
		all.Pending = more.Pending
		return nil
	}
	if len(more.Pending) <= len("[]") {
		return nil
	}
	joined := make(json.RawMessage, 0, len(all.Pending)+len(more.Pending))
	joined = append(joined, all.Pending[:len(all.Pending)-1]...)
	joined = append(joined, ',')
	all.Pending = append(joined, more.Pending[1:]...)
	return nil
}

func addFile(tx *txn.Builder, id uuid.UUID, f *RawDataFileCreate) {
	tx.Add(CreateFile{
		ID: id, ExecutedObsUnitID: f.ExecutedObsUnitID, InstrumentModuleID: f.InstrumentModuleID,
		Name: f.Name, RelativePath: f.RelativePath, FileType: f.FileType, SizeBytes: f.SizeBytes,
		ChecksumAlgorithm: f.ChecksumAlgorithm, Checksum: f.Checksum, StartTime: f.StartTime, EndTime: f.EndTime,
		CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
	})
	if f.DataLocationID != nil {
		tx.Add(CreateFileCopy{db.CreatePhysicalCopyOfFileParams{
			ID: tx.NewID(), Kind: db.CopyKindRawDataFile, RawDataFileID: id, DataLocationID: *f.DataLocationID, Path: f.RelativePath,
			Status: db.CopyStatusPresent, SizeBytes: &f.SizeBytes, Version: 1, CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
		}})
	}
}

func addFiles(tx *txn.Builder, ids []uuid.UUID, files []RawDataFileCreate) {
	step := CreateFiles{CreatedAt: tx.Now(), UpdatedAt: tx.Now(), ID: ids}
	copies := CreateFileCopies{db.CreatePhysicalCopiesOfFilesParams{
		Kind: db.CopyKindRawDataFile, Status: db.CopyStatusPresent, Version: 1, CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
	}}
	for n := range files {
		f := &files[n]
		step.ExecutedObsUnitID = append(step.ExecutedObsUnitID, f.ExecutedObsUnitID)
		step.InstrumentModuleID = append(step.InstrumentModuleID, f.InstrumentModuleID)
		step.Name = append(step.Name, f.Name)
		step.RelativePath = append(step.RelativePath, f.RelativePath)
		step.FileType = append(step.FileType, f.FileType)
		step.SizeBytes = append(step.SizeBytes, f.SizeBytes)
		step.ChecksumAlgorithm = append(step.ChecksumAlgorithm, f.ChecksumAlgorithm)
		step.Checksum = append(step.Checksum, f.Checksum)
		step.StartTime = append(step.StartTime, textOf(f.StartTime))
		step.EndTime = append(step.EndTime, textOf(f.EndTime))
		if f.DataLocationID != nil {
			copies.ID = append(copies.ID, tx.NewID())
			copies.RawDataFileID = append(copies.RawDataFileID, ids[n])
			copies.DataLocationID = append(copies.DataLocationID, *f.DataLocationID)
			copies.Path = append(copies.Path, f.RelativePath)
			copies.SizeBytes = append(copies.SizeBytes, f.SizeBytes)
		}
	}
	tx.Add(step)
	if len(copies.ID) > 0 {
		tx.Add(copies)
	}
}

// set is the distinct values of a list.
type set[T comparable] map[T]bool

func setOf[T comparable](values []T) set[T] {
	s := make(set[T], len(values))
	s.add(values)
	return s
}

func (s set[T]) add(values []T) {
	for _, v := range values {
		s[v] = true
	}
}

func (s set[T]) list() []T {
	values := make([]T, 0, len(s))
	for v := range s {
		values = append(values, v)
	}
	return values
}
