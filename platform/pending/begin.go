package pending

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/pending/internal/db"
)

// begin opens the snapshot: its first statement takes it, so the site's row
// belongs to the same moment as all that is read afterwards.
func (s *Snapshot) begin(ctx context.Context, conn *pgxpool.Conn, site string) error {
	head, err := db.New(beginning{conn}).SnapshotHead(ctx, site)
	if err != nil {
		return err
	}
	s.Batch, s.LastSeq = head.Batch, head.LastSeq
	s.ReplayLSN = strconv.FormatInt(head.Timeline, 10) + ":" + head.Lsn
	return nil
}

// beginning sends BEGIN together with the one statement it is asked for: a
// round trip less in every read.
type beginning struct{ *pgxpool.Conn }

// QueryRow implements DBTX.
func (b beginning) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
	batch.Queue(sql, args...)
	return &firstRow{b.SendBatch(ctx, batch)}
}

// firstRow is the row of the second statement of a batch.
type firstRow struct{ results pgx.BatchResults }

// Scan implements pgx.Row.
func (r *firstRow) Scan(dest ...any) (err error) {
	defer func() {
		if closed := r.results.Close(); err == nil {
			err = closed
		}
	}()
	var tag pgconn.CommandTag
	if tag, err = r.results.Exec(); err != nil || tag.String() != "BEGIN" {
		return err
	}
	return r.results.QueryRow().Scan(dest...)
}
