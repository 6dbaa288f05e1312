package observations

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// CreateFile registers one file.
type CreateFile db.CreateRawDataFileParams

// Kind implements txn.Step.
func (CreateFile) Kind() string { return "raw_data_files.create/1" }

// Apply implements txn.Step.
func (s CreateFile) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).CreateRawDataFile(ctx, db.CreateRawDataFileParams(s))
}

// Rows implements txn.Step.
func (s CreateFile) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableFile, s.ID, s, fileReferences(s.ExecutedObsUnitID, s.RawDataPackageID)...)}
}

func fileReferences(execution uuid.UUID, pack *uuid.UUID) []pending.Key {
	references := []pending.Key{{Table: tableExecution, ID: execution}}
	if pack != nil {
		references = append(references, pending.Key{Table: tablePackage, ID: *pack})
	}
	return references
}

// CreateFiles registers many files: the n-th element of every list belongs to the
// n-th file, an unknown time is an empty string.
type CreateFiles db.CreateRawDataFilesParams

// Kind implements txn.Step.
func (CreateFiles) Kind() string { return "raw_data_files.create_many/1" }

// Apply implements txn.Step.
func (s CreateFiles) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).CreateRawDataFiles(ctx, db.CreateRawDataFilesParams(s))
}

// fileColumns is a row of CreateFiles; times stay the text they are.
type fileColumns struct {
	ID                 uuid.UUID  `json:"id"`
	ExecutedObsUnitID  uuid.UUID  `json:"executed_obs_unit_id"`
	InstrumentModuleID int64      `json:"instrument_module_id"`
	RawDataPackageID   *uuid.UUID `json:"raw_data_package_id"`
	Name               string     `json:"name"`
	RelativePath       string     `json:"relative_path"`
	FileType           string     `json:"file_type"`
	SizeBytes          int64      `json:"size_bytes"`
	ChecksumAlgorithm  string     `json:"checksum_algorithm"`
	Checksum           string     `json:"checksum"`
	StartTime          *string    `json:"start_time"`
	EndTime            *string    `json:"end_time"`
	CreatedAt          time.Time  `json:"created_at"`
	UpdatedAt          time.Time  `json:"updated_at"`
}

// Rows implements txn.Step.
func (s CreateFiles) Rows() []pending.Change {
	changes := make([]pending.Change, len(s.ID))
	for i, id := range s.ID {
		changes[i] = txn.Create(tableFile, id, fileColumns{
			ID: id, ExecutedObsUnitID: s.ExecutedObsUnitID[i], InstrumentModuleID: s.InstrumentModuleID[i],
			Name: s.Name[i], RelativePath: s.RelativePath[i], FileType: s.FileType[i], SizeBytes: s.SizeBytes[i],
			ChecksumAlgorithm: s.ChecksumAlgorithm[i], Checksum: s.Checksum[i],
			StartTime: known(s.StartTime[i]), EndTime: known(s.EndTime[i]),
			CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
		}, fileReferences(s.ExecutedObsUnitID[i], nil)...)
	}
	return changes
}

func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Slices implements txn.Slicer.
func (s CreateFiles) Slices(max int) []txn.Step {
	size := func(i int) int {
		return 100 + len(s.Name[i]) + len(s.RelativePath[i]) + len(s.FileType[i]) + len(s.ChecksumAlgorithm[i]) +
			len(s.Checksum[i]) + len(s.StartTime[i]) + len(s.EndTime[i])
	}
	var steps []txn.Step
	for from, to := range cuts(len(s.ID), max, size) {
		steps = append(steps, CreateFiles{
			CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
			ID: s.ID[from:to], ExecutedObsUnitID: s.ExecutedObsUnitID[from:to], InstrumentModuleID: s.InstrumentModuleID[from:to],
			Name: s.Name[from:to], RelativePath: s.RelativePath[from:to], FileType: s.FileType[from:to], SizeBytes: s.SizeBytes[from:to],
			ChecksumAlgorithm: s.ChecksumAlgorithm[from:to], Checksum: s.Checksum[from:to],
			StartTime: s.StartTime[from:to], EndTime: s.EndTime[from:to],
		})
	}
	return steps
}

// LinkFiles puts files into a package; all of them must be files of its execution
// and instrument module and in no package yet.
type LinkFiles struct {
	db.LinkRawDataFilesParams
	// CreatedAt is when each file was registered, for its place in lists; null for
	// one that could not be read.
	CreatedAt []*time.Time `json:"created_at"`
}

// Kind implements txn.Step.
func (LinkFiles) Kind() string { return "raw_data_files.link/1" }

// Apply implements txn.Step.
func (s LinkFiles) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).LinkRawDataFiles(ctx, s.LinkRawDataFilesParams)
}

// Rows implements txn.Step.
func (s LinkFiles) Rows() []pending.Change {
	changes := make([]pending.Change, len(s.ID))
	for i, id := range s.ID {
		set := map[string]any{
			"raw_data_package_id": s.RawDataPackageID, "updated_at": s.UpdatedAt,
			"executed_obs_unit_id": s.ExecutedObsUnitID, "instrument_module_id": s.InstrumentModuleID,
		}
		if i < len(s.CreatedAt) && s.CreatedAt[i] != nil {
			set["created_at"] = s.CreatedAt[i]
		}
		changes[i] = txn.Update(tableFile, id, set, pending.Key{Table: tablePackage, ID: s.RawDataPackageID})
	}
	return changes
}

// Slices implements txn.Slicer.
func (s LinkFiles) Slices(max int) []txn.Step {
	var steps []txn.Step
	for from, to := range cuts(len(s.ID), max, func(int) int { return 24 }) {
		part := s
		part.ID, part.CreatedAt = s.ID[from:to], s.CreatedAt[min(from, len(s.CreatedAt)):min(to, len(s.CreatedAt))]
		steps = append(steps, part)
	}
	return steps
}

// Refusal implements txn.Refuser.
func (LinkFiles) Refusal() *problem.Kind { return FileInPackage }

// CreateFileCopy says that a file lies at a data location.
type CreateFileCopy struct {
	db.CreatePhysicalCopyOfFileParams
}

// Kind implements txn.Step.
func (CreateFileCopy) Kind() string { return "physical_copies.create_for_file/1" }

// Apply implements txn.Step.
func (s CreateFileCopy) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).CreatePhysicalCopyOfFile(ctx, s.CreatePhysicalCopyOfFileParams)
}

// Rows implements txn.Step.
func (s CreateFileCopy) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableCopy, s.ID, s, pending.Key{Table: tableFile, ID: s.RawDataFileID})}
}

// CreateFileCopies says where many files lie: the n-th element of every list
// belongs to the n-th copy.
type CreateFileCopies struct {
	db.CreatePhysicalCopiesOfFilesParams
}

// Kind implements txn.Step.
func (CreateFileCopies) Kind() string { return "physical_copies.create_for_files/1" }

// Apply implements txn.Step.
func (s CreateFileCopies) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).CreatePhysicalCopiesOfFiles(ctx, s.CreatePhysicalCopiesOfFilesParams)
}

// Rows implements txn.Step.
func (s CreateFileCopies) Rows() []pending.Change {
	changes := make([]pending.Change, len(s.ID))
	for i, id := range s.ID {
		changes[i] = txn.Create(tableCopy, id, db.CreatePhysicalCopyOfFileParams{
			ID: id, Kind: s.CreatePhysicalCopiesOfFilesParams.Kind, RawDataFileID: s.RawDataFileID[i], DataLocationID: s.DataLocationID[i], Path: s.Path[i],
			Status: s.Status, SizeBytes: &s.SizeBytes[i], RetryCount: s.RetryCount, Version: s.Version,
			CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
		}, pending.Key{Table: tableFile, ID: s.RawDataFileID[i]})
	}
	return changes
}

// Slices implements txn.Slicer.
func (s CreateFileCopies) Slices(max int) []txn.Step {
	var steps []txn.Step
	for from, to := range cuts(len(s.ID), max, func(i int) int { return 64 + len(s.Path[i]) }) {
		part := s
		part.ID, part.RawDataFileID, part.DataLocationID = s.ID[from:to], s.RawDataFileID[from:to], s.DataLocationID[from:to]
		part.Path, part.SizeBytes = s.Path[from:to], s.SizeBytes[from:to]
		steps = append(steps, part)
	}
	return steps
}

// cuts yields ranges of n rows whose sizes add up to at most max each; a row that
// is larger stands alone.
func cuts(n, max int, size func(i int) int) func(yield func(from, to int) bool) {
	return func(yield func(from, to int) bool) {
		from, sum := 0, 0
		for i := range n {
			bytes := size(i)
			if i > from && sum+bytes > max {
				if !yield(from, i) {
					return
				}
				from, sum = i, 0
			}
			sum += bytes
		}
		if from < n {
			yield(from, n)
		}
	}
}
