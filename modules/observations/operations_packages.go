package observations

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// packageFilters are the query parameters of lists of packages.
var packageFilters = api.NewFilters(
	api.Enum("status", "pending", "scheduled", "in_progress", "completed", "failed", "cancelled"),
	api.Enum("state", "waiting", "transferring", "archived", "failed"),
	api.UUID("executed_obs_unit_id").Doc("The execution."),
	api.Int("instrument_module_id").Doc("The module."),
	api.Range("sequence"),
	api.Nullable(api.UUID("data_transfer_package_id")).Doc("The bundle it travels in."),
	api.Text("name"),
	api.Nullable(api.Range("size_bytes")),
	api.Range("file_count"),
	api.Range("retry_count"),
	api.Nullable(api.Text("failure_message")),
	api.Time("created_at"),
)

type (
	createPackageInput struct {
		api.Write
		Body RawDataPackageCreate
	}
	finalizePackageInput struct {
		api.Write
		api.IfMatch
		ID   uuid.UUID `path:"id" doc:"The package."`
		Body RawDataPackageFinalize
	}
	listPackagesInput struct{ api.List }
	getPackageInput   struct {
		api.Read
		api.IfNoneMatch
		ID uuid.UUID `path:"id" doc:"The package."`
	}
	createPackageOutput struct {
		api.Versioned
		api.Written
		Location string `header:"Location" doc:"Where the package's record is."`
		Warning  string `header:"Warning" doc:"Says that the files of the package have more than 50 GB together."`
		Body     RawDataPackage
	}
	packageOutput struct {
		api.Versioned
		api.Written
		Body RawDataPackage
	}
	packageDetailOutput struct {
		api.Versioned
		api.ReadAt
		Body RawDataPackageDetail
	}
)

func (m *Module) registerPackages(r *api.Router) {
	api.Register(r, api.Op{ID: "create-raw-data-package", Method: http.MethodPost, Path: "/raw_data_package", Status: http.StatusCreated,
		Summary: "Open a package", Permission: "write:packages", Critical: true, Tags: tags,
		Description: "Its files are linked in the same transaction: those named, else all of the execution and module that are in no package. Above 50 GB the answer has a Warning, above `PACKAGE_MAX_BYTES` it is refused.",
		Problems:    []*problem.Kind{PackageExists, PackageTooLarge, FileInPackage, problem.IDTaken}}, m.createPackage)
	api.Register(r, api.Op{ID: "finalize-raw-data-package", Method: http.MethodPut, Path: "/raw_data_package/{id}/finalize",
		Summary: "Complete a package", Permission: "write:packages", Critical: true, Tags: tags,
		Problems: []*problem.Kind{PackageNotOpen, FileInPackage, problem.NotFound, problem.VersionMismatch}}, m.finalizePackage)
	api.Register(r, api.Op{ID: "list-raw-data-packages", Method: http.MethodGet, Path: "/raw_data_package",
		Summary: "List packages, newest first", Permission: "read:packages", Tags: tags,
		Filters: packageFilters, Order: api.NewestFirst}, m.listPackages)
	api.Register(r, api.Op{ID: "get-raw-data-package", Method: http.MethodGet, Path: "/raw_data_package/{id}",
		Summary: "Get a package with its files", Permission: "read:packages", Tags: tags,
		Problems: []*problem.Kind{problem.NotFound}}, m.getPackage)
}

func (m *Module) createPackage(ctx context.Context, in *createPackageInput) (*createPackageOutput, error) {
	if in.Body.ID != nil {
		if err := api.CheckClientID("body.id", *in.Body.ID); err != nil {
			return nil, err
		}
	}
	if err := checkPackage(&in.Body); err != nil {
		return nil, err
	}
	var bytes int64
	receipt, err := m.write(ctx, in.Write, func(ctx context.Context, tx *txn.Builder) (err error) {
		bytes, err = m.buildPackage(ctx, tx, &in.Body)
		return err
	})
	if err != nil {
		return nil, err
	}
	pack, err := m.afterPackage(ctx, &found[db.RawDataPackage]{}, receipt)
	if err != nil {
		return nil, err
	}
	out := &createPackageOutput{Written: record.Written(receipt), Location: "/raw_data_package/" + pack.ID.String(), Body: pack}
	if bytes > PackageWarnBytes {
		out.Warning = fmt.Sprintf(`299 opsdb "the files of the package have %d bytes together, more than %d"`, bytes, int64(PackageWarnBytes))
	}
	out.ETag = packageETag(pack, pack)
	return out, nil
}

// checkPackage refuses what no database is needed for.
func checkPackage(body *RawDataPackageCreate) error {
	var wrong faults
	if body.Name != nil {
		if message := nameFault(*body.Name); message != "" {
			wrong.add("body.name", *body.Name, message)
		}
	}
	if body.RelativePath != nil {
		if message := pathFault(*body.RelativePath); message != "" {
			wrong.add("body.relative_path", *body.RelativePath, message)
		}
	}
	if message := freeFault(body.Metadata); message != "" {
		wrong.add("body.metadata", nil, message)
	}
	return wrong.problem()
}

func (m *Module) finalizePackage(ctx context.Context, in *finalizePackageInput) (*packageOutput, error) {
	if message := checksumFault(in.Body.ChecksumAlgorithm, in.Body.Checksum); message != "" {
		return nil, problem.Invalid.Field("body.checksum", in.Body.Checksum, "%s", message)
	}
	in.Body.Checksum = strings.ToLower(in.Body.Checksum)
	var f *found[db.RawDataPackage]
	receipt, err := m.write(ctx, in.Write, func(ctx context.Context, tx *txn.Builder) (err error) {
		f, err = m.buildFinalize(ctx, tx, in.ID, version{in.IfMatch}, &in.Body)
		return err
	})
	if err != nil {
		return nil, err
	}
	pack, err := m.afterPackage(ctx, f, receipt)
	if err != nil {
		return nil, err
	}
	return &packageOutput{Versioned: api.Versioned{ETag: packageETag(pack, pack)}, Written: record.Written(receipt), Body: pack}, nil
}

// afterPackage is the record that a write is answered with.
func (m *Module) afterPackage(ctx context.Context, f *found[db.RawDataPackage], receipt txn.Receipt) (RawDataPackage, error) {
	id := changed(receipt, tablePackage)
	if receipt.Replayed {
		now, sync, err := present(ctx, m, receipt, tablePackage, id, getPackage)
		if err != nil {
			return RawDataPackage{}, err
		}
		return showPackage(now, id, sync)
	}
	if err := f.overlay(receipt.Changes, tablePackage, id); err != nil {
		return RawDataPackage{}, err
	}
	return showPackage(f, id, receipt.Sync)
}

func (m *Module) listPackages(ctx context.Context, in *listPackagesInput) (*api.PageOutput[RawDataPackage], error) {
	var rows db.ListRawDataPackagesParams
	var count db.CountRawDataPackagesParams
	if err := fill(in.List, &rows, &count); err != nil {
		return nil, err
	}
	return lister[db.RawDataPackage, RawDataPackage]{
		table: tablePackage,
		rows: func(ctx context.Context, s *pending.Snapshot, q merged) ([]db.RawDataPackage, error) {
			rows.Pending, rows.Replaced, rows.PageSize = q.pending, q.replaced, q.size
			rows.AfterTime, rows.AfterID = cursor(q.after)
			rows.BoundTime, rows.BoundID = cursor(q.bound)
			return db.New(s.DB).ListRawDataPackages(ctx, rows)
		},
		count: func(ctx context.Context, s *pending.Snapshot, q merged) (int64, error) {
			count.Pending, count.Replaced = q.pending, q.replaced
			return db.New(s.DB).CountRawDataPackages(ctx, count)
		},
		show:  packageOf,
		place: func(row *db.RawDataPackage) pending.Cursor { return pending.Cursor{Time: row.CreatedAt, ID: row.ID} },
	}.list(ctx, m, in.List, pageOf(in.List, "executed_obs_unit_id"))
}

func (m *Module) getPackage(ctx context.Context, in *getPackageInput) (*packageDetailOutput, error) {
	out := &packageDetailOutput{}
	err := m.read(ctx, in.Read, func(ctx context.Context, s *pending.Snapshot) error {
		row, err := getPackage(ctx, s, in.ID)
		if err != nil {
			return absent(s, err, tablePackage, in.ID)
		}
		out.Body.RawDataPackage = packageOf(&row, s.Sync(tablePackage, row.ID))
		out.ReplayLSN = s.ReplayLSN
		out.SetOverlayUnavailable(s.OverlayUnavailable)
		if out.Body.Metadata, err = getMetadata(ctx, s, row.ID); err != nil {
			return err
		}
		// Walked by the execution, which a file never changes: by the package every
		// file that a pending write links anywhere would be looked at.
		overlay := s.All(tableFile, pending.Page{
			Path: "executed_obs_unit_id", Parent: row.ExecutedObsUnitID,
			Filters: []pending.Filter{{Column: "raw_data_package_id", Op: "in", Values: []any{row.ID}}},
		})
		out.Body.Files, err = listFiles(ctx, s, overlay, db.ListRawDataFilesParams{RawDataPackageID: []uuid.UUID{row.ID}, PageSize: packageFiles})
		return err
	})
	if isUnreachable(err) {
		err = m.pendingPackage(ctx, in.ID, err, out)
	}
	if err != nil {
		return nil, err
	}
	out.ETag = packageETag(out.Body.RawDataPackage, out.Body)
	return out, in.Unchanged(out.ETag)
}

// pendingPackage answers a detail of pending rows alone, when the replica cannot be
// read and the package is not stored yet; otherwise the refusal stays.
func (m *Module) pendingPackage(ctx context.Context, id uuid.UUID, refusal error, out *packageDetailOutput) error {
	view, err := m.reader.PendingOnly(ctx)
	if err != nil {
		return err
	}
	row, ok := view.Row(pending.Key{Table: tablePackage, ID: id})
	if !ok || !row.Create || row.Deleted {
		return refusal
	}
	packages, err := shown([]pending.Row{row}, packageOf)
	if err != nil {
		return err
	}
	out.Overlay = pendingOnly
	out.Body = RawDataPackageDetail{RawDataPackage: packages[0]}
	if metadata, ok := view.Row(pending.Key{Table: tableMetadata, ID: id}); ok {
		var m SetPackageMetadata
		if err := decode(metadata.Columns, &m); err != nil {
			return err
		}
		out.Body.Metadata = m.Metadata
	}
	out.Body.Files, err = shown(view.Created(tableFile, pending.Page{Path: "raw_data_package_id", Parent: id}), fileOf)
	return err
}
