package observations

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// fileFilters are the query parameters of lists of files.
var fileFilters = api.NewFilters(
	api.UUID("executed_obs_unit_id").Doc("The execution."),
	api.Int("instrument_module_id").Doc("The module that wrote it."),
	api.UUID("raw_data_package_id").Doc("The package."),
	api.Enum("file_type", "g3", "fits", "hdf5", "other"),
	api.Range("size_bytes"),
	api.Flag("unpackaged").Doc("true: in no package; false: in one."),
	api.Text("name"),
	api.Text("relative_path"),
	api.Nullable(api.Time("start_time")),
	api.Nullable(api.Time("end_time")),
	api.Time("created_at"),
)

type (
	createFileInput struct {
		api.Write
		Body RawDataFileCreate
	}
	createFilesInput struct {
		api.Write
		Body []RawDataFileCreate `minItems:"1" maxItems:"10000"`
	}
	listFilesInput struct{ api.List }
	getFileInput   struct {
		api.Read
		api.IfNoneMatch
		ID uuid.UUID `path:"id" doc:"The file."`
	}
	fileOutput struct {
		api.Versioned
		api.Written
		Location string `header:"Location" doc:"Where the file's record is."`
		Body     RawDataFile
	}
	filesOutput struct {
		api.Written
		Body RawDataFileBulkResult
	}
	fileDetailOutput struct {
		api.Versioned
		api.ReadAt
		Body RawDataFileDetail
	}
)

func (m *Module) registerFiles(r *api.Router) {
	api.Register(r, api.Op{ID: "create-raw-data-file", Method: http.MethodPost, Path: "/raw_data_files", Status: http.StatusCreated,
		Summary: "Register a file", Permission: "write:files", Critical: true, Tags: tags,
		Description: "For executions in any status and any existing module.",
		Problems:    []*problem.Kind{FileExists, problem.IDTaken}}, m.createFile)
	api.Register(r, api.Op{ID: "create-raw-data-files", Method: http.MethodPost, Path: "/raw_data_files/bulk", Status: http.StatusCreated,
		Summary: "Register up to 10,000 files in one transaction", Permission: "write:files", Critical: true, Tags: tags,
		Description: "A JSON array, or NDJSON with one file a line. When any item is invalid none is written, and all of them are listed.",
		MaxBody:     api.BulkMaxBody, NDJSON: true,
		Problems: []*problem.Kind{FileExists, problem.IDTaken}}, m.createFiles)
	api.Register(r, api.Op{ID: "list-raw-data-files", Method: http.MethodGet, Path: "/raw_data_files",
		Summary: "List files, newest first", Permission: "read:files", Tags: tags,
		Filters: fileFilters, Order: api.NewestFirst}, m.listFiles)
	api.Register(r, api.Op{ID: "get-raw-data-file", Method: http.MethodGet, Path: "/raw_data_files/{id}",
		Summary: "Get a file and where it lies", Permission: "read:files", Tags: tags,
		Problems: []*problem.Kind{problem.NotFound}}, m.getFile)
}

// checkIDs refuses the UUIDs that no client may choose.
func checkIDs(files []RawDataFileCreate, at place) error {
	var wrong faults
	for n := range files {
		if id := files[n].ID; id != nil && api.CheckClientID("", *id) != nil {
			wrong.add(at(n, "id"), id.String(), "must be neither the nil nor the max UUID")
		}
	}
	return wrong.problem()
}

// register carries out the registration of files.
func (m *Module) register(ctx context.Context, in api.Write, files []RawDataFileCreate, at place) (txn.Receipt, error) {
	for _, check := range []func([]RawDataFileCreate, place) error{checkIDs, checkFiles} {
		if err := check(files, at); err != nil {
			return txn.Receipt{}, err
		}
	}
	return m.write(ctx, in, func(ctx context.Context, tx *txn.Builder) error {
		return m.buildFiles(ctx, tx, files, at)
	})
}

func (m *Module) createFile(ctx context.Context, in *createFileInput) (*fileOutput, error) {
	receipt, err := m.register(ctx, in.Write, []RawDataFileCreate{in.Body}, single)
	if err != nil {
		return nil, err
	}
	id, sync := changed(receipt, tableFile), receipt.Sync
	f := &found[db.RawDataFile]{}
	if receipt.Replayed {
		if f, sync, err = present(ctx, m, receipt, tableFile, id, getFile); err != nil {
			return nil, err
		}
	} else if err := f.overlay(receipt.Changes, tableFile, id); err != nil {
		return nil, err
	}
	out := &fileOutput{Written: record.Written(receipt), Location: "/raw_data_files/" + id.String(), Body: fileOf(&f.row, sync)}
	out.ETag = fileETag(out.Body, out.Body)
	return out, nil
}

func (m *Module) createFiles(ctx context.Context, in *createFilesInput) (*filesOutput, error) {
	receipt, err := m.register(ctx, in.Write, in.Body, listed)
	if err != nil {
		return nil, err
	}
	out := &filesOutput{Written: record.Written(receipt), Body: RawDataFileBulkResult{IDs: make([]uuid.UUID, 0, len(in.Body)), Sync: receipt.Sync.Shown()}}
	for _, c := range receipt.Changes {
		if c.Table == tableFile && c.Op == pending.OpCreate {
			out.Body.IDs = append(out.Body.IDs, c.ID)
		}
	}
	out.Body.Count = len(out.Body.IDs)
	return out, nil
}

// fileETag is the version of a file.
func fileETag(own RawDataFile, whole any) string {
	own.Sync = nil
	return api.ETag(own, whole)
}

func (m *Module) listFiles(ctx context.Context, in *listFilesInput) (*api.PageOutput[RawDataFile], error) {
	var rows db.ListRawDataFilesParams
	var count db.CountRawDataFilesParams
	if err := fill(in.List, &rows, &count); err != nil {
		return nil, err
	}
	page := pageOf(in.List, "executed_obs_unit_id", "raw_data_package_id")
	if rows.Unpackaged != nil {
		// The only filter that is not simple, and its column decides it all the same.
		page.Filters = append(page.Filters, pending.Filter{Column: "raw_data_package_id", Op: "has", Values: []any{!*rows.Unpackaged}})
		page.Undecided = false
	}
	return lister[db.RawDataFile, RawDataFile]{
		table: tableFile,
		rows: func(ctx context.Context, s *pending.Snapshot, q merged) ([]db.RawDataFile, error) {
			rows.Pending, rows.Replaced, rows.PageSize = q.pending, q.replaced, q.size
			rows.AfterTime, rows.AfterID = cursor(q.after)
			rows.BoundTime, rows.BoundID = cursor(q.bound)
			return db.New(s.DB).ListRawDataFiles(ctx, rows)
		},
		count: func(ctx context.Context, s *pending.Snapshot, q merged) (int64, error) {
			count.Pending, count.Replaced = q.pending, q.replaced
			return db.New(s.DB).CountRawDataFiles(ctx, count)
		},
		show:  fileOf,
		place: func(row *db.RawDataFile) pending.Cursor { return pending.Cursor{Time: row.CreatedAt, ID: row.ID} },
	}.list(ctx, m, in.List, page)
}

// listFiles runs the list query of files with an overlay, for details.
func listFiles(ctx context.Context, s *pending.Snapshot, overlay pending.Overlay, query db.ListRawDataFilesParams) ([]RawDataFile, error) {
	query.Pending, query.Replaced = params(overlay)
	rows, err := db.New(s.DB).ListRawDataFiles(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("listing files: %w", err)
	}
	files := make([]RawDataFile, len(rows))
	for i := range rows {
		files[i] = fileOf(&rows[i], s.Sync(tableFile, rows[i].ID))
	}
	return files, nil
}

func (m *Module) getFile(ctx context.Context, in *getFileInput) (*fileDetailOutput, error) {
	out := &fileDetailOutput{}
	err := m.read(ctx, in.Read, func(ctx context.Context, s *pending.Snapshot) error {
		row, err := getFile(ctx, s, in.ID)
		if err != nil {
			return absent(s, err, tableFile, in.ID)
		}
		out.Body.RawDataFile = fileOf(&row, s.Sync(tableFile, row.ID))
		out.ReplayLSN = s.ReplayLSN
		out.SetOverlayUnavailable(s.OverlayUnavailable)
		query := db.ListPhysicalCopiesOfFileParams{RawDataFileID: row.ID}
		query.Pending, query.Replaced = params(s.All(tableCopy, pending.Page{Path: "raw_data_file_id", Parent: row.ID}))
		copies, err := db.New(s.DB).ListPhysicalCopiesOfFile(ctx, query)
		if err != nil {
			return fmt.Errorf("listing the copies of a file: %w", err)
		}
		out.Body.PhysicalCopies = make([]FileCopy, len(copies))
		for i := range copies {
			out.Body.PhysicalCopies[i] = copyOf(&copies[i], s.Sync(tableCopy, copies[i].ID))
		}
		return nil
	})
	if isUnreachable(err) {
		err = m.pendingFile(ctx, in.ID, err, out)
	}
	if err != nil {
		return nil, err
	}
	out.ETag = fileETag(out.Body.RawDataFile, out.Body)
	return out, in.Unchanged(out.ETag)
}

// pendingFile answers a detail of pending rows alone, when the replica cannot be
// read and the file is not stored yet; otherwise the refusal stays.
func (m *Module) pendingFile(ctx context.Context, id uuid.UUID, refusal error, out *fileDetailOutput) error {
	view, err := m.reader.PendingOnly(ctx)
	if err != nil {
		return err
	}
	row, ok := view.Row(pending.Key{Table: tableFile, ID: id})
	if !ok || !row.Create || row.Deleted {
		return refusal
	}
	files, err := shown([]pending.Row{row}, fileOf)
	if err != nil {
		return err
	}
	copies, err := shown(view.Created(tableCopy, pending.Page{Path: "raw_data_file_id", Parent: id}), copyOf)
	out.Overlay = pendingOnly
	out.Body = RawDataFileDetail{RawDataFile: files[0], PhysicalCopies: copies}
	return err
}
