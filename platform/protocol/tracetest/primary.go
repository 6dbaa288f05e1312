package tracetest

import (
	"testing"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// watching makes the primary keep, in the test's database alone, each change of the
// site's row and each ledger row with the transaction that made it. The site's row is
// locked by whoever changes it, so the order of its changes is that of the commits.
const watching = `
CREATE TABLE trace_log (
	n bigserial PRIMARY KEY, token uuid NOT NULL DEFAULT gen_random_uuid(), xid bigint NOT NULL DEFAULT txid_current(),
	epoch bigint, batch bigint, last_seq bigint, tx uuid, outcome text);
CREATE FUNCTION trace_site() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
	INSERT INTO trace_log (epoch, batch, last_seq) VALUES (NEW.epoch, NEW.batch, NEW.last_seq);
	RETURN NULL;
END $$;
CREATE TRIGGER trace_site AFTER UPDATE ON site_status FOR EACH ROW
	WHEN ((OLD.epoch, OLD.batch, OLD.last_seq) IS DISTINCT FROM (NEW.epoch, NEW.batch, NEW.last_seq)) EXECUTE FUNCTION trace_site();
CREATE FUNCTION trace_ledger() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
	INSERT INTO trace_log (tx, outcome) VALUES (NEW.id, NEW.outcome);
	RETURN NULL;
END $$;
CREATE TRIGGER trace_ledger AFTER INSERT ON applied_transaction FOR EACH ROW WHEN (NEW.seq IS NOT NULL) EXECUTE FUNCTION trace_ledger();`

// entry is one commit that the primary has kept, or a failover.
type entry struct {
	token                 uuid.UUID
	xid                   int64
	epoch, batch, lastSeq int64
	applied, discarded    []uuid.UUID
	failover, imported    bool
	keep                  int
}

// primary is what the primary has kept so far, failovers included. base are the
// entries of the present history, by their place in all.
type primary struct {
	all     []entry
	history []uuid.UUID
	begun   entry
}

func (p *primary) begin(t testing.TB, s *txntest.Sites) {
	t.Helper()
	s.Exec(t, watching)
	pool := s.Primary(t)
	err := pool.QueryRow(sandboxtest.Context(t), "SELECT epoch, batch, last_seq FROM site_status WHERE site = $1", s.Site).
		Scan(&p.begun.epoch, &p.begun.batch, &p.begun.lastSeq)
	if err != nil {
		t.Fatal(err)
	}
}

// read adds what the primary of now has kept since.
func (p *primary) read(t testing.TB, s *txntest.Sites) {
	t.Helper()
	pool := sandboxtest.Pool(t, s.Stack.Primary.URL(s.Database))
	rows, err := pool.Query(sandboxtest.Context(t), `SELECT token, xid, coalesce(epoch, -1), coalesce(batch, -1), coalesce(last_seq, -1), tx, coalesce(outcome, '') FROM trace_log ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var kept []entry
	for rows.Next() {
		var e entry
		var tx *uuid.UUID
		var outcome string
		if err := rows.Scan(&e.token, &e.xid, &e.epoch, &e.batch, &e.lastSeq, &tx, &outcome); err != nil {
			t.Fatal(err)
		}
		before := p.begun
		if len(kept) > 0 {
			before = kept[len(kept)-1]
		}
		if tx != nil && before.xid != e.xid {
			// An import that has nothing to lift. One that has leaves the number too.
			kept = append(kept, entry{token: e.token, xid: e.xid, epoch: before.epoch, batch: before.batch, lastSeq: before.lastSeq, imported: true})
		}
		if tx == nil {
			e.imported = e.epoch == before.epoch && e.batch == before.batch
			kept = append(kept, e)
			continue
		}
		group := &kept[len(kept)-1]
		if outcome == "applied" {
			group.applied = append(group.applied, *tx)
		} else {
			group.discarded = append(group.discarded, *tx)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	common := 0
	for common < len(kept) && common < len(p.history) && kept[common].token == p.history[common] {
		common++
	}
	if common < len(p.history) {
		p.all = append(p.all, entry{failover: true, keep: common + 1}) // and the first state
		p.history = p.history[:common]
	}
	for _, e := range kept[common:] {
		p.all = append(p.all, e)
		p.history = append(p.history, e.token)
	}
}
