package txn

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/txn/internal/db"
)

// importerName is the application name of an import: no processor's, or the site's own
// would end it at its next connect flush.
const importerName = "opsdb-import:"

// Importer applies a site's transactions at the primary that came another way than
// over its link. It sends what a processor sends, with another head: it claims
// nothing, and the site's number and epoch stay as they are. What it has applied the
// site's processor finds in the ledger.
//
// It is used by one goroutine. After an error of Apply nothing is known of what was
// sent, and it must be closed.
type Importer struct{ link *Link }

// ConnectImporter makes the connection and prepares every statement.
func ConnectImporter(ctx context.Context, config LinkConfig, catalog *Catalog) (*Importer, error) {
	config = config.withDefaults()
	params := pg.ProcessorParams()
	params["statement_timeout"] = "0" // as for a processor
	conn, err := pg.Connect(ctx, config.URL, importerName+config.Site, params)
	if err != nil {
		return nil, fmt.Errorf("connecting to the primary: %w", err)
	}
	i := &Importer{&Link{config: config, catalog: catalog, whole: conn, conn: conn.PgConn()}}
	if err := i.prepare(ctx); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

func (i *Importer) prepare(ctx context.Context) (err error) {
	l, texts := i.link, i.link.catalog.texts()
	bounded, cancel := context.WithTimeout(ctx, l.config.Patience)
	defer cancel()
	p := l.conn.StartPipeline(bounded)
	sendPrepare(p, texts)
	if err := p.Sync(); err != nil {
		return fmt.Errorf("preparing statements: %w", err)
	}
	if l.ready, err = readPrepared(p, texts, l.whole.TypeMap()); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return fmt.Errorf("preparing statements: %w", err)
	}
	return nil
}

// Prepare makes a transaction ready to be applied; its errors are those of
// Link.Prepare.
func (i *Importer) Prepare(ctx context.Context, tx *pending.Transaction) (*Item, error) {
	return i.link.Prepare(ctx, tx)
}

// Apply applies items in one commit, and says of each what the primary did. An error
// means that none of them is known to be applied; ErrSiteMissing, that none is.
func (i *Importer) Apply(ctx context.Context, items []*Item) ([]Answer, error) {
	l := i.link
	bytes, lastSeq := 0, int64(0)
	for _, item := range items {
		bytes += item.Bytes()
		lastSeq = max(lastSeq, item.Seq)
	}
	head, err := l.ready.of(func(q *db.Queries) error {
		return q.LiftLastSeq(ctx, db.LiftLastSeqParams{LastSeq: lastSeq, Site: l.config.Site})
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the head of an import: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, l.patience(bytes))
	defer cancel()
	p := l.conn.StartPipeline(bounded)
	if err := l.sendGroup(ctx, p, head, items); err != nil {
		return nil, err
	}
	if err := p.Flush(); err != nil {
		return nil, fmt.Errorf("sending an import: %w", err)
	}
	group, err := l.readGroup(p, items)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "OP002" {
		return nil, ErrSiteMissing
	}
	if err != nil {
		return nil, fmt.Errorf("reading the answer to an import: %w", err)
	}
	if err := p.Close(); err != nil {
		return nil, fmt.Errorf("ending an import: %w", err)
	}
	if err := l.resolveFound(bounded, []GroupAnswer{group}); err != nil {
		return nil, err
	}
	return group.Items, nil
}

// Close ends the connection at once. Any further call does nothing.
func (i *Importer) Close() { i.link.Close() }
