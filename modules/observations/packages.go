package observations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// maxPackageFiles is how many files one package may take in one transaction.
const maxPackageFiles = 100_000

// pair is what the files of a package have in common.
type pair struct {
	execution uuid.UUID
	module    int64
}

func (p pair) guard() string { return fmt.Sprintf("%s:%d", p.execution, p.module) }

// chosen are the files that go into a package.
type chosen struct {
	ids     []uuid.UUID
	created []*time.Time
	bytes   int64
	there   int // named files that are in the package already
}

func (c *chosen) add(f *db.FindRawDataFilesRow) {
	c.ids = append(c.ids, f.ID)
	c.created = append(c.created, &f.CreatedAt)
	c.bytes += f.SizeBytes
}

// buildPackage puts together the steps of a new package and returns its row and
// how many bytes its files have.
func (m *Module) buildPackage(ctx context.Context, tx *txn.Builder, body *RawDataPackageCreate) (bytes int64, err error) {
	of := pair{body.ExecutedObsUnitID, body.InstrumentModuleID}
	tx.Guard(of.guard())
	step := CreatePackage{
		ID: tx.NewID(), ExecutedObsUnitID: of.execution, InstrumentModuleID: of.module,
		Status: db.WorkStatusPending, State: db.PackageStateWaiting, Version: 1, CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
	}
	if body.ID != nil {
		step.ID = *body.ID
		tx.ClientID(step.ID)
	}
	var files chosen
	read := func(ctx context.Context, s *pending.Snapshot) error {
		files = chosen{}
		if err := m.checkPackageParents(ctx, s, of, step.ID); err != nil {
			return err
		}
		if body.FileIDs == nil {
			if err := unpackaged(ctx, s, of, &files); err != nil {
				return err
			}
		} else if err := named(ctx, s, of, uuid.Nil, body.FileIDs, &files); err != nil {
			return err
		}
		return m.namePackage(ctx, s, &step, body)
	}
	// Which files are free is stored; which ones the client names is not.
	check := tx.Check
	if body.FileIDs == nil {
		check = tx.Require
	}
	if err := check(ctx, read); err != nil {
		return 0, err
	}
	if !tx.Checked() {
		if err := m.guessPackage(ctx, of, &step, body, &files); err != nil {
			return 0, err
		}
	}
	if err := m.checkSize(&files); err != nil {
		return 0, err
	}
	step.FileCount = int32(len(files.ids))
	step.RelativePath = api.Or(body.RelativePath, step.Name)
	tx.Add(step)
	if len(body.Metadata) > 0 && string(body.Metadata) != "null" {
		tx.Add(SetPackageMetadata{RawDataPackageID: step.ID, Metadata: body.Metadata, CreatedAt: tx.Now(), UpdatedAt: tx.Now()})
	}
	link(tx, of, step.ID, &files)
	return files.bytes, nil
}

func link(tx *txn.Builder, of pair, pack uuid.UUID, files *chosen) {
	if len(files.ids) == 0 {
		return
	}
	tx.Add(LinkFiles{
		LinkRawDataFilesParams: db.LinkRawDataFilesParams{
			ID: files.ids, RawDataPackageID: pack, UpdatedAt: tx.Now(),
			ExecutedObsUnitID: of.execution, InstrumentModuleID: of.module,
		},
		CreatedAt: files.created,
	})
}

func (m *Module) checkSize(files *chosen) error {
	if len(files.ids) > maxPackageFiles {
		return PackageTooLarge.New("the package would have %d files, the limit is %d", len(files.ids), maxPackageFiles)
	}
	if m.maxBytes > 0 && files.bytes > m.maxBytes {
		return PackageTooLarge.Field("body.file_ids", nil, "the files have %d bytes together, the limit is %d", files.bytes, m.maxBytes)
	}
	return nil
}

// checkPackageParents refuses parents that do not exist and an id that does.
func (m *Module) checkPackageParents(ctx context.Context, s *pending.Snapshot, of pair, id uuid.UUID) error {
	refs, err := db.New(s.DB).FindFileReferences(ctx, db.FindFileReferencesParams{
		ExecutedObsUnitIds: []uuid.UUID{of.execution}, InstrumentModuleIds: []int64{of.module},
		DataLocationIds: []int64{}, Ids: []uuid.UUID{},
	})
	if err != nil {
		return err
	}
	var wrong faults
	if len(refs.Executions) == 0 && !isPending(s.View, tableExecution, of.execution) {
		wrong.add("body.executed_obs_unit_id", of.execution.String(), "there is no such execution")
	}
	if len(refs.Modules) == 0 {
		wrong.add("body.instrument_module_id", of.module, "there is no such instrument module")
	}
	if err := wrong.problem(); err != nil {
		return err
	}
	_, err = getPackage(ctx, s, id)
	switch {
	case err == nil:
		return problem.IDTaken.Field("body.id", id.String(), "another package has this id")
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	}
	return err
}

// unpackaged chooses all files of the pair that are in no package.
func unpackaged(ctx context.Context, s *pending.Snapshot, of pair, files *chosen) error {
	list, replaced := params(s.All(tableFile, pending.Page{
		Path: "executed_obs_unit_id", Parent: of.execution,
		Filters: []pending.Filter{{Column: "instrument_module_id", Op: "in", Values: []any{of.module}}},
	}))
	rows, err := db.New(s.DB).ListUnpackagedFiles(ctx, db.ListUnpackagedFilesParams{
		ExecutedObsUnitID: of.execution, InstrumentModuleID: of.module, Pending: list, Replaced: replaced,
	})
	if err != nil {
		return err
	}
	for i := range rows {
		f := db.FindRawDataFilesRow(rows[i])
		files.add(&f)
	}
	return nil
}

// named chooses the files that the client names. All of them must exist and be of
// the pair; those that are in the package already are left alone, those in another
// one are refused.
func named(ctx context.Context, s *pending.Snapshot, of pair, pack uuid.UUID, ids []uuid.UUID, files *chosen) error {
	list, replaced := params(s.Rows(tableFile, ids...))
	rows, err := db.New(s.DB).FindRawDataFiles(ctx, db.FindRawDataFilesParams{Ids: ids, Pending: list, Replaced: replaced})
	if err != nil {
		return err
	}
	byID := make(map[uuid.UUID]*db.FindRawDataFilesRow, len(rows))
	for i := range rows {
		byID[rows[i].ID] = &rows[i]
	}
	return choose(of, pack, ids, files, func(id uuid.UUID) (*db.FindRawDataFilesRow, bool) {
		f, ok := byID[id]
		return f, ok
	})
}

// choose takes files by id. lookup gives what is known of one, nil when nothing
// is, false when there is no such file.
func choose(of pair, pack uuid.UUID, ids []uuid.UUID, files *chosen, lookup func(uuid.UUID) (*db.FindRawDataFilesRow, bool)) error {
	var wrong faults
	taken := faults{kind: FileInPackage}
	seen := make(map[uuid.UUID]bool, len(ids))
	for n, id := range ids {
		location := fmt.Sprintf("body.file_ids[%d]", n)
		f, exists := lookup(id)
		switch {
		case seen[id]:
			wrong.add(location, id.String(), "the file is named twice")
		case !exists:
			wrong.add(location, id.String(), "there is no such file")
		case f == nil:
			files.ids = append(files.ids, id)
			files.created = append(files.created, nil)
		case f.ExecutedObsUnitID != of.execution || f.InstrumentModuleID != of.module:
			wrong.add(location, id.String(), "the file is of another execution or instrument module")
		case f.RawDataPackageID != nil && *f.RawDataPackageID == pack:
			files.there++
		case f.RawDataPackageID != nil:
			taken.add(location, id.String(), "the file is in package "+f.RawDataPackageID.String())
		default:
			files.add(f)
		}
		seen[id] = true
	}
	if err := wrong.problem(); err != nil {
		return err
	}
	return taken.problem()
}

// namePackage gives a new package the next free number of its pair, and a name.
func (m *Module) namePackage(ctx context.Context, s *pending.Snapshot, step *CreatePackage, body *RawDataPackageCreate) error {
	q := db.New(s.DB)
	list, replaced := params(s.All(tablePackage, pending.Page{Path: "executed_obs_unit_id", Parent: step.ExecutedObsUnitID}))
	used, err := q.FindPackageSequences(ctx, db.FindPackageSequencesParams{
		ExecutedObsUnitID: step.ExecutedObsUnitID, InstrumentModuleID: step.InstrumentModuleID, Pending: list, Replaced: replaced,
	})
	if err != nil {
		return err
	}
	step.Sequence = 1
	if len(used) > 0 {
		step.Sequence = slices.Max(used) + 1
	}
	if body.Name != nil {
		step.Name = *body.Name
		taken, err := nameTaken(ctx, s, step.Name)
		if err == nil && taken {
			return PackageExists.Field("body.name", step.Name, "another package has this name")
		}
		return err
	}
	execution, err := getExecution(ctx, s, step.ExecutedObsUnitID)
	if err != nil {
		return err
	}
	parts, err := q.FindPackageParents(ctx, db.FindPackageParentsParams{ObsUnitID: execution.ObsUnitID, InstrumentModuleID: step.InstrumentModuleID})
	if err != nil {
		return err
	}
	step.Name = packageName(parts.ObsUnit, execution.StartTime, parts.InstrumentModule, "", step.Sequence)
	taken, err := nameTaken(ctx, s, step.Name)
	if err == nil && taken {
		// Another execution of the unit began within the same second.
		step.Name = packageName(parts.ObsUnit, execution.StartTime, parts.InstrumentModule, step.ExecutedObsUnitID.String(), step.Sequence)
	}
	return err
}

// packageName is the default name of a package, such as
// OrionA-280_20260715T112000Z_Mod280_001.tar. It is one segment, for it is the
// package's default path too.
func packageName(unit string, start time.Time, module, execution string, sequence int32) string {
	parts := []string{unit, start.UTC().Format("20060102T150405Z"), module, execution}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || unicode.IsControl(r) {
			return '-'
		}
		return r
	}, strings.Join(parts, "_"))
	return fmt.Sprintf("%s_%03d.tar", name, sequence)
}

func nameTaken(ctx context.Context, s *pending.Snapshot, name string) (bool, error) {
	list, replaced := params(s.All(tablePackage, pending.Page{Filters: []pending.Filter{{Column: "name", Op: "in", Values: []any{name}}}}))
	ids, err := db.New(s.DB).FindPackageName(ctx, db.FindPackageNameParams{Name: name, Pending: list, Replaced: replaced})
	return len(ids) > 0, err
}

// guessPackage numbers and fills a package while the replica cannot be read. It
// can, when the execution itself is still pending: then all its packages are too.
func (m *Module) guessPackage(ctx context.Context, of pair, step *CreatePackage, body *RawDataPackageCreate, files *chosen) error {
	view, err := m.reader.PendingOnly(ctx)
	if err != nil {
		return err
	}
	if !isPending(view, tableExecution, of.execution) {
		return problem.ReplicaUnreachable.New("the replica is needed to number the package and cannot be read now")
	}
	*files = chosen{}
	if err := pendingFiles(view, of, uuid.Nil, body.FileIDs, files); err != nil {
		return err
	}
	step.Sequence = 1
	view.Ascend(0, func(t *pending.Tx) bool {
		for _, c := range t.Changes {
			if c.Table != tablePackage || c.Op != pending.OpCreate {
				continue
			}
			var p db.RawDataPackage
			if decode(c.Columns, &p) == nil && p.ExecutedObsUnitID == of.execution && p.InstrumentModuleID == of.module {
				step.Sequence = max(step.Sequence, p.Sequence+1)
			}
		}
		return true
	})
	step.Name = api.Or(body.Name, fmt.Sprintf("%s_%d_%03d.tar", of.execution, of.module, step.Sequence))
	return nil
}

// pendingFiles is named for when only pending rows can be read: of files that are
// stored nothing is known, and the primary decides.
func pendingFiles(view pending.View, of pair, pack uuid.UUID, ids []uuid.UUID, files *chosen) error {
	return choose(of, pack, ids, files, func(id uuid.UUID) (*db.FindRawDataFilesRow, bool) {
		row, ok := view.Row(pending.Key{Table: tableFile, ID: id})
		if !ok || !row.Create {
			return nil, true
		}
		var f db.FindRawDataFilesRow
		if row.Deleted || decode(row.Columns, &f) != nil {
			return nil, false
		}
		return &f, true
	})
}

// buildFinalize completes a package that is open as far as this site knows.
func (m *Module) buildFinalize(ctx context.Context, tx *txn.Builder, id uuid.UUID, match version, body *RawDataPackageFinalize) (*found[db.RawDataPackage], error) {
	f, err := find(ctx, m, tx, tablePackage, id, getPackage)
	if err != nil {
		return nil, err
	}
	if err := match.check(f.whole, packageVersion(&f)); err != nil {
		return nil, err
	}
	if status := packageStatus(&f); status != "" && !open(db.WorkStatus(status)) {
		return nil, PackageNotOpen.New("the package is %s", status)
	}
	step := FinalizePackage{FinalizeRawDataPackageParams: db.FinalizeRawDataPackageParams{
		ID: id, Status: db.WorkStatusCompleted, SizeBytes: body.SizeBytes,
		ChecksumAlgorithm: body.ChecksumAlgorithm, Checksum: body.Checksum, UpdatedAt: tx.Now(),
	}}
	if !f.whole {
		if body.FileIDs != nil {
			return nil, problem.ReplicaUnreachable.New("the replica is needed to add files to the package and cannot be read now")
		}
		tx.Add(step)
		return &f, nil
	}
	step.SetVersion, step.Version = true, next(f.row.Version)
	step.CreatedAt, step.ExecutedObsUnitID, step.InstrumentModuleID = &f.row.CreatedAt, &f.row.ExecutedObsUnitID, &f.row.InstrumentModuleID
	if match.given() {
		step.ExpectedVersion, step.ExpectedUpdatedAt = &f.row.Version, &f.row.UpdatedAt
	}
	if body.FileIDs != nil {
		of := pair{f.row.ExecutedObsUnitID, f.row.InstrumentModuleID}
		files, err := m.moreFiles(ctx, tx, of, id, body.FileIDs)
		if err != nil {
			return nil, err
		}
		count := f.row.FileCount + int32(len(files.ids))
		step.SetFileCount, step.FileCount = true, &count
		link(tx, of, id, files)
	}
	tx.Add(step)
	return &f, nil
}

// moreFiles chooses the files that finalizing adds to a package.
func (m *Module) moreFiles(ctx context.Context, tx *txn.Builder, of pair, pack uuid.UUID, ids []uuid.UUID) (*chosen, error) {
	var files chosen
	err := tx.Check(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		files = chosen{}
		return named(ctx, s, of, pack, ids, &files)
	})
	if err != nil || tx.Checked() {
		return &files, err
	}
	view, err := m.reader.PendingOnly(ctx)
	if err != nil {
		return nil, err
	}
	files = chosen{}
	return &files, pendingFiles(view, of, pack, ids, &files)
}

// open says whether a package can still be finalized.
func open(status db.WorkStatus) bool {
	return status == db.WorkStatusPending || status == db.WorkStatusScheduled || status == db.WorkStatusInProgress
}

// packageStatus is the status of a package as far as it is known.
func packageStatus(f *found[db.RawDataPackage]) string {
	if f.whole {
		return string(f.row.Status)
	}
	if len(f.columns) == 0 {
		return ""
	}
	var known RawDataPackage
	if err := decode(f.columns, &known); err != nil {
		return ""
	}
	return api.Or(known.Status, "")
}

// packageVersion is what If-Match compares: the record without its sync.
func packageVersion(f *found[db.RawDataPackage]) string {
	record := packageOf(&f.row, pending.Sync{})
	return packageETag(record, record)
}

// packageETag is the version of a package.
func packageETag(own RawDataPackage, whole any) string {
	own.Sync = nil
	return api.ETag(own, whole)
}

// showPackage is the record of what is known of a package.
func showPackage(f *found[db.RawDataPackage], id uuid.UUID, sync pending.Sync) (RawDataPackage, error) {
	if f.whole {
		return packageOf(&f.row, sync), nil
	}
	record := RawDataPackage{ID: id}
	if len(f.columns) > 0 {
		if err := decode(f.columns, &record); err != nil {
			return record, err
		}
	}
	record.ID, record.Sync = id, sync.Shown()
	return record, nil
}
