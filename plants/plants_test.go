// Package plants holds mistakes that the tests of the product must find.
package plants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// plant is a mistake that the tests must find. Production code has no switches:
// the file is changed for one run of the tests (go test -overlay).
type plant struct {
	name, file, old, new string
	// test is what must fail, in the package of the file or in the one named before
	// a colon.
	test string
	// always: run with every `go test`; the others with OPSDB_PLANTS=all.
	always bool
}

var plants = []plant{
	// Reading: one answer of replica and pending writes.
	{"half of the catch-ups skipped", "platform/pending/reader.go", "\tview, err = r.store.CatchUp(ctx)\n", "\tif view = r.store.Current(); time.Now().UnixNano()&1 == 0 {\n\t\tview, err = r.store.CatchUp(ctx)\n\t}\n", "EveryAnswer", true},
	{"nothing is replaced", "platform/pending/narrow.go", "if !r.moved && !never && (!r.created || r.clientID || r.createSeq <= n.lastSeq) {", "if _ = never; false {", "EveryAnswer", true},
	{"snapshot before view", "platform/pending/reader.go", "\tif s.Batch < view.Swept {\n\t\treturn behind(view), nil\n\t}\n\tif r.store != nil && !without", "\ttime.Sleep(10 * time.Millisecond)\n\tif r.store != nil {\n\t\tif view, err = r.store.CatchUp(ctx); err != nil {\n\t\t\treturn nil, err\n\t\t}\n\t}\n\tif r.store != nil && !without", "EveryAnswer", true},
	{"a snapshot ahead of its view is mixed with it", "platform/pending/reader.go", "if r.store != nil && !without && s.LastSeq > view.LastSeq {", "if false {", "SnapshotAhead", false},
	{"creates missing from replaced", "platform/pending/narrow.go", "(!r.created || r.clientID || r.createSeq <= n.lastSeq)", "!r.created", "EveryAnswer|Narrowing", false},
	{"updates missing from replaced", "platform/pending/narrow.go", "(!r.created || r.clientID || r.createSeq <= n.lastSeq)", "(r.created && (r.clientID || r.createSeq <= n.lastSeq))", "EveryAnswer|Narrowing", false},
	{"what may be stored with another value is not looked for", "platform/pending/narrow.go", "if !bytes.Equal(r.values[n.path], n.token) {", "if false {", "EveryAnswer", false},
	{"a changed row keeps its old place", "platform/pending/rows.go", "n.placed() && n.changed>>i&1 == 1", "false", "EveryAnswer", false},
	{"a full walk without a bound", "platform/pending/narrow.go", "\tif stopped != nil {", "\tif false {", "Narrowing", false},
	{"updates only in the path they name", "platform/pending/rows.go", "case n.values[i] != nil && (p.fixed || !n.changes(p.column)):", "case n.values[i] != nil:", "Narrowing", false},
	{"swept when applied", "platform/pending/tracker.go", "gone := s.Current().Applied(batch)", "batch = 1 << 52\n\tgone := s.Current().Applied(batch)", "ExpireForgetsEverything", false},
	{"a request does not wait for an exchange that began after it", "platform/pending/catchup.go", "\tcase <-mine.done:\n\t\treturn mine.view, mine.err\n", "\tcase <-mine.done:\n\t\treturn mine.view, mine.err\n\tdefault:\n\t\treturn s.Current(), nil\n", "SharesTheNext", false},

	// The buffer in Redis: each change of state is one script.
	{"no guard", "platform/pending/scripts/accept.lua", "if newest and tonumber(newest) > seen then", "if false then", "AcceptIsStale|TwoProcesses", false},
	{"no load in accept", "platform/pending/scripts/accept.lua", "if redis.call('GET', p .. 'load') ~= load then", "if false then", "AcceptIsStale|Restart", false},
	{"idempotency after capacity", "platform/pending/scripts/accept.lua", "local first = redis.call('HGET', p .. 'idempotency', field)", "local first = redis.call('LLEN', buffer) + redis.call('HLEN', dead) < tonumber(capacity) and redis.call('HGET', p .. 'idempotency', field)", "AcceptLooks", false},
	{"no epoch", "platform/pending/scripts/prelude.lua", "return redis.call('GET', p .. 'epoch') ~= epoch or redis.call('GET', p .. 'load') ~= load", "return redis.call('GET', p .. 'load') ~= load", "ScriptsOfAProcessor", false},
	{"no load in a processor's scripts", "platform/pending/scripts/prelude.lua", "return redis.call('GET', p .. 'epoch') ~= epoch or redis.call('GET', p .. 'load') ~= load", "return redis.call('GET', p .. 'epoch') ~= epoch", "ScriptsOfAProcessor", false},
	{"retry at the new end", "platform/pending/scripts/prelude.lua", "  put(seqs)\n  emit('e', 'queued'", "  for _, seq in ipairs(seqs) do redis.call('LPUSH', buffer, line_of(seq)) end\n  emit('e', 'queued'", "RetryGoesBack", false},
	{"retry leaves what it blocks", "platform/pending/scripts/retry.lua", "for _, seq in ipairs(#again > 0 and held(set) or {}) do", "for _, seq in ipairs({}) do", "RetryGoesBack", false},
	{"settling releases nothing", "platform/pending/scripts/settle.lua", "if free then", "if false then", "SettleReleases", false},
	{"blocks whatever its blocker is", "platform/pending/scripts/block.lua", "if is_dead(by) then", "if true then", "BlockLeaves", false},
	{"fails what has left the buffer", "platform/pending/scripts/fail.lua", "  if found[seq] then\n    found[seq] = nil\n    local n", "  if true then\n    local n", "ScriptsOfAProcessor", false},
	{"put-back leaves the replicated ones", "platform/pending/scripts/put_back.lua", "if unsettle(seq) and", "if not redis.call('ZSCORE', replicated, seq) and unsettle(seq) and", "Restart", false},
	{"put-back without a new epoch", "platform/pending/scripts/put_back.lua", "redis.call('INCR', p .. 'epoch')\n", "", "PutBackBuilds", false},
	{"lost tail: replicated ones stay", "platform/pending/scripts/connected.lua", "if unsettle(seq) then", "if not redis.call('ZSCORE', replicated, seq) and unsettle(seq) then", "LostTail", false},
	{"seq not raised to the claim's", "platform/pending/scripts/connected.lua", "redis.call('SET', p .. 'seq', ARGV[4])", "local _ = 0", "Emptied", false},
	{"numbers begin at the claim, not at the clock", "platform/pending/scripts/connected.lua", "text(math.max(batch, claim, shown, now))", "text(claim)", "LostTail|Connected", false},
	{"numbers are not kept", "platform/pending/scripts/raise_batch.lua", "redis.call('SET', p .. 'batch', text(batch + tonumber(ARGV[3])))", "local _ = 0", "LostTail", false},
	{"swept lowered below what expired", "platform/pending/scripts/unsweep.lua", "math.max(batch, tonumber(redis.call('GET', p .. 'expired') or '0'))", "batch", "GoesBack", false},
	{"retention of nothing", "platform/pending/tracker.go", "until := heard.Add(-s.opts.Retention).UnixMilli()", "until := heard.UnixMilli()", "Expire", false},
	{"retention goes on while main is out of reach", "modules/buffer/follow.go", "last := m.state.lastHeard()", "last := m.config.Clock()", "NothingExpires", false},
	{"a process that has just begun trusts the clock", "modules/buffer/follow.go", "passed < retention", "passed < 0", "modules/buffer:AClockThatIsSet", false},
	{"a process trusts a clock that was set forward", "modules/buffer/follow.go", "steady.Before(heard.Round(0))", "false", "modules/buffer:AClockThatIsSet", false},
	{"pending rows expire by time", "platform/pending/scripts/accept.lua", "local seq = text(n)\n", "local seq = text(n)\nif redis.call('EXISTS', transactions) == 1 then redis.call('PEXPIRE', transactions, 20) end\n", "ViewEqualsReload", false},
	{"a load shows what changed between its pages", "platform/pending/reload.go", "st.Swept, st.ahead = page.swept, page.change", "st.Swept, st.LastChange = page.swept, page.change", "ViewEqualsReload", false},
	{"what only the replica has seen raises no alarm", "platform/pending/scripts/connected.lua", "math.max(claim, shown) > batch", "claim > batch", "ConnectedBegins", false},
	{"the settings of Redis are trusted for ever", "platform/pending/store.go", "\ts.setStatus(func(st *Status) { st.Checked, st.Durability = true, d })\n", "\tif before.Checked {\n\t\treturn nil\n\t}\n\ts.setStatus(func(st *Status) { st.Checked, st.Durability = true, d })\n", "DurabilityIsLooked", false},
	{"dead letters are asked for in one message", "platform/txn/link.go", "slices.Chunk(dead, idsAtOnce)", "slices.Chunk(dead, len(dead)+1)", "platform/txn:ManyDeadLetters", false},
	{"a direct write does not look for its key in Redis", "platform/txn/buffered.go", "\t\t\texisting, err := w.existing(ctx, req)", "\t\t\texisting, err := w.existing(ctx, Request{})", "platform/txn:WritesPass", false},
	{"the rate is what this process has drained", "modules/buffer/rates.go", "done := view.LastSeq - int64(c.Buffered+c.Failed+c.Blocked)", "_ = c\n\tdone := m.state.report().Processed", "modules/buffer:RatesAreOfTheSite", false},
	{"a stack's folder is swept before it is locked", "platform/sandbox/tempdir.go", "time.Since(info.ModTime()) < begins", "false", "platform/sandbox:AbandonedFolders", false},
	{"a commit is forgotten in part", "platform/pending/tracker.go", "if len(out) == expireSlice {", "if false {", "FullSlice", false},
	{"a commit is forgotten in any order", "platform/pending/tracker.go", "cmp.Compare(a.place, b.place), cmp.Compare(a.seq, b.seq))", "0)", "ExpireGoesBySeq|ExpireTakes", false},

	// Following the buffer.
	{"a dead letter leaves the view", "platform/pending/follow.go", "return ok && s.change(seq, func(t *Tx) { t.State, t.Dead", "s.drop(seq)\n\t\tif true {\n\t\t\treturn true\n\t\t}\n\t\treturn ok && s.change(seq, func(t *Tx) { t.State, t.Dead", "ScriptsOfAProcessor|ViewEquals", false},
	{"discards what is on its way", "platform/pending/scripts/discard.lua", "if not is_dead(seq) and", "if false and", "DiscardIs", false},
	{"a discarded one stays dead", "platform/pending/scripts/discard.lua", "    redis.call('HDEL', dead, seq)\n", "", "Discard", false},
	{"a discard settles without its target", "platform/pending/session.go", "for _, target.Seq = range t.Discards {", "for range t.Discards[:0] {", "Discard", false},
	{"id-taken stays in the view", "platform/pending/state.go", "&& p.Type == \"/problems/id-taken\"", "&& p.Type == \"never\"", "IDTaken", false},

	{"what waits overtakes its correction", "platform/pending/view.go", "buffered: tree(byPlace)", "buffered: tree(bySeq)", "Replacement", false},
	{"what waits brings back what was corrected", "platform/pending/uncarry.go", "corrected = m.place != m.seq", "corrected = false", "Replacement", false},
	{"a correction takes a place of its own", "platform/txn/builder.go", "b.place, b.now, b.userID = dead.Place, dead.AcceptedAt, whole.UserID", "b.place, b.now, b.userID = 0, dead.AcceptedAt, whole.UserID", "modules/observations:CorrectedDeadLetter", false},
	{"a dead letter and its correction are both applied", "modules/buffer/internal/db/writes.sql.go", "SELECT must_change(count(*), CASE WHEN", "SELECT must_change(CASE WHEN $1::integer = $2::integer THEN 1 ELSE 0 END, CASE WHEN", "modules/observations:ReplacementThatComesTooLate", false},
	{"a correction may have another id", "modules/observations/edit.go", "if given == nil || *given != id {", "if false {", "CorrectedDeadLetter", false},
	{"a correction is checked against the mistake", "platform/txn/buffered.go", "\treturn view.Without(without...)\n", "\treturn view\n", "modules/observations:CorrectedDeadLetter", false},
	{"a correction is exported by its seq", "platform/pending/kept.go", "if kept.Place != kept.Seq {", "if false {", "KeptGoesByPlace", false},
	{"what Redis has lost counts as replicated", "platform/txn/buffered.go", "case view.Load != \"\" && view.Load == r.load:", "case true:", "WaitDoesNotTake", false},
	{"a decision does not guard the rows of its dead letter", "modules/buffer/discard.go", "\t\ttx.Guard(dead.Changes[i].ID.String())\n", "\t\t_ = i\n", "DecisionIsNoticed", false},

	// Draining.
	{"taken from the buffer before the commit is known", "modules/buffer/processor.go", "\tencoding := encoding{selection: chosen}\n", "\tvar early []pending.Settled\n\tfor n, g := range chosen.groups {\n\t\tfor _, i := range g {\n\t\t\tearly = append(early, pending.Settled{Seq: i.Seq, Position: first + int64(n), Outcome: pending.StateApplied})\n\t\t}\n\t}\n\tif err := s.Settle(ctx, early); err != nil {\n\t\treturn step{}, err\n\t}\n\tencoding := encoding{selection: chosen}\n", "DrainOverALine|ProcessorThatDies", false},
	{"groups count without their commit", "modules/buffer/settle.go", "\t\tif !g.Committed {\n\t\t\tcontinue\n\t\t}\n", "", "NothingOfAnUnanswered", false},
	{"a discarded one counts as applied", "platform/txn/flush.go", "if row[1] != \"applied\" {", "if row[1] == \"\" {", "FlushTells|Discard", false},
	{"no guard on earlier ones of the flush", "modules/buffer/pick.go", "\t\t\ts.earlier[tx.Seq] = append(s.earlier[tx.Seq], ids[earlier])\n", "\t\t\t_ = earlier\n", "PoisonHoldsBack|SelectFlush", false},
	{"blocking is not transitive", "modules/buffer/pick.go", "\t\tby = append(by, blocked.Of(tx.Place, tx.Changes)...)\n", "", "PoisonHoldsBack|SelectFlush|DeadLetterHoldsBack", false},
	{"what is held lets its dependants pass", "modules/buffer/pick.go", "|| len(waiting.Of(tx.Place, tx.Changes)) > 0", "", "LockAtMain|SelectFlush", false},
	{"a lock at main counts as a fault of the transaction", "platform/txn/flush.go", "if problem.ClassOf(err) != problem.Data || at < 0 {", "if at < 0 {", "modules/buffer:LockAtMain", false},
	{"dead letters are not tried again", "modules/buffer/processor.go", "\tretried, next, err := p.retryDue(ctx, view)\n", "\tvar retried bool\n\tvar next time.Duration\n", "DeadLetterIsTriedAgain", false},
	{"what an unknown dead letter may hold back is sent", "modules/buffer/pick.go", "if unread != nil && tx.Place > unread.Place {", "if false {", "UnknownDead", false},
	{"a site that main does not know counts as one that was overtaken", "platform/txn/link.go", "return c, ErrSiteMissing\n\tcase", "return c, &RefusedError{}\n\tcase", "modules/buffer:ASiteRenamedAt", false},
	{"a schema older than the program is served", "platform/pg/check.go", "f := Finding{Name: FindingSchema, Fatal: want.Primary}", "f := Finding{Name: FindingSchema}", "cmd/opsdb:MainIsReadyOnly", false},
	{"a schema newer than the program is refused", "platform/pg/check.go", "f.OK = version >= want.SchemaVersion", "f.OK = version == want.SchemaVersion", "cmd/opsdb:MainIsReadyOnly", false},
	{"an unknown kind is passed over", "modules/buffer/pick.go", "\t\t\ts.unknown = tx.Unknown\n\t\t\tbreak\n", "\t\t\tcontinue\n", "UnknownKindStops|SelectFlush", false},
	{"stalled processors are left alone", "modules/buffer/internal/db/writes.sql.go", "a.state = 'active'", "a.state = 'never'", "BlackHoleInMidFlush", false},

	// Applying: the ledger, the head, the claim.
	{"no row in the ledger", "platform/txn/wire.go", "\te.add(m, nil)\n\tfor i, m := range steps {", "\t_ = m\n\tfor i, m := range steps {", "FlushCutAnywhere|FlushTells|DirectWriteCommits", false},
	{"what is found in the ledger counts as failed", "platform/txn/flush.go", "\t\terr = l.resolveFound(bounded, waiting)\n", "", "FlushCutAnywhere|FlushTells", false},
	{"what comes after what was found is told although the line is lost", "platform/txn/flush.go", "\t\treturn err\n\t}\n\treturn heard(waiting)\n", "\t\treturn errors.Join(err, heard(waiting))\n\t}\n\treturn heard(waiting)\n", "NothingAfterWhatWasFound", false},
	{"the head does not look at the epoch", "platform/txn/internal/db/writes.sql.go", "WHERE site = $4 AND epoch = $5 AND batch = $6", "WHERE site = $4 AND $5::bigint IS NOT NULL AND batch = $6", "StaleProcessor|HeldFlush", false},
	{"the head does not look at the number before it", "platform/txn/internal/db/writes.sql.go", "WHERE site = $4 AND epoch = $5 AND batch = $6", "WHERE site = $4 AND epoch = $5 AND $6::bigint IS NOT NULL", "StaleProcessor|HeldFlush", false},
	{"the claim does not look at the epoch", "platform/txn/internal/db/writes.sql.go", "WHERE site = $2 AND epoch < $1", "WHERE site = $2", "StaleProcessor|LateClaim|HeldFlush", false},
	{"the key is not looked up at main", "platform/txn/direct.go", "\t\treplay, keyErr = found, err\n\t\treturn errKeyKnown\n", "\t\treturn nil\n", "RetryAtMain", false},

	// Accepting.
	{"answered before it is stored", "platform/txn/buffered.go", "\t\taccepted, err := w.config.Store.Accept(ctx, pending.Accept{Transaction: tx, Changes: v.draft.changes, View: v.view, Exempt: v.builder.exempt, Unchecked: !v.builder.Checked()})\n", "\t\tgo w.config.Store.Accept(context.WithoutCancel(ctx), pending.Accept{Transaction: tx, Changes: v.draft.changes, View: v.view, Exempt: v.builder.exempt, Unchecked: !v.builder.Checked()})\n\t\tvar accepted pending.Accepted\n", "modules/buffer:LostAnswer|KilledServers|TwoProcessesCannot", false},
	{"the key is not looked up in the ledger at a site", "platform/txn/buffered.go", "\tif req.Key == \"\" {\n\t\treturn nil\n\t}\n", "\tif true {\n\t\treturn nil\n\t}\n", "RetryAtASecondary", false},
	{"a check takes a snapshot that shows less than its view", "platform/pending/checking.go", "\t\tif batch < x.check.swept {\n", "\t\tif _ = batch; false {\n", "ReadWaitsForAReplica", false},
	{"a slow check turns everybody away", "platform/pending/reader.go", "\t\t\treturn nobody\n", "\t\t\treturn checks\n", "ASlowCheck", false},
	{"many rows are checked as fast as one", "platform/pending/reader.go", "time.Duration(rows) * 2 * time.Millisecond", "time.Duration(rows) * 0", "ASlowCheck", false},
	{"a large answer has as long as a small one", "platform/pending/checking.go", "\t\tif first {\n\t\t\tx.check.answered = true\n", "\t\tx.check.answered = x.check.answered || first\n\t\tif false {\n", "ALargeAnswer|ASlowCheck", false},
	{"the ledger's answer to a key goes before the site's own", "platform/txn/buffered.go", "\t\t\treturn w.replayed(ctx, req, *v.replay)\n", "\t\t\treturn *v.replay, nil\n", "KeyOfBothSites", false},
	{"refused on the view at hand", "platform/txn/buffered.go", "\t\tcase err != nil && !fresh:\n\t\t\tfresh = true\n\t\t\tcontinue\n", "", "modules/buffer:TwoProcesses", false},
	{"a refusal comes before the key", "platform/txn/buffered.go", "\t\t\treturn w.refuse(ctx, req, err)\n", "\t\t\treturn Receipt{}, err\n", "RetryAtASecondary", false},
	{"a wait ends when it is applied", "platform/txn/buffered.go", "if receipt.State != pending.StateBuffered && receipt.State != pending.StateApplied {", "if receipt.State != pending.StateBuffered {", "modules/observations:WaitingTells", false},

	// Traces: what the real servers do is not what the model does.
	{"numbers are not kept, in a trace", "platform/pending/scripts/raise_batch.lua", "redis.call('SET', p .. 'batch', text(batch + tonumber(ARGV[3])))", "local _ = 0", "modules/buffer:TraceOfADrain", false},
	{"swept when applied, in a trace", "platform/pending/tracker.go", "gone := s.Current().Applied(batch)", "batch = 1 << 52\n\tgone := s.Current().Applied(batch)", "modules/buffer:TraceOfADrain", false},
	{"retry at the new end, in a trace", "platform/pending/scripts/prelude.lua", "  put(seqs)\n  emit('e', 'queued'", "  for _, seq in ipairs(seqs) do redis.call('LPUSH', buffer, line_of(seq)) end\n  emit('e', 'queued'", "modules/buffer:TraceOfDeadLetters", false},
	{"put-back leaves the replicated ones, in a trace", "platform/pending/scripts/put_back.lua", "if unsettle(seq) and", "if not redis.call('ZSCORE', replicated, seq) and unsettle(seq) and", "modules/buffer:TraceOfAPausedReplay", false},
	{"a discard settles without its target, in a trace", "platform/pending/session.go", "for _, target.Seq = range t.Discards {", "for range t.Discards[:0] {", "modules/buffer:TraceOfDiscardsIs", false},
	{"a discard that main does not record, in a trace", "modules/buffer/internal/db/writes.sql.go", "$13, $14, $5, '[]'\n    FROM piece\n    WHERE piece.complete\n", "$13, $14, $5, '[]'\n    FROM piece\n    WHERE false\n", "TraceOfDiscards", false},
	{"what waits overtakes its correction, in a trace", "platform/pending/view.go", "buffered: tree(byPlace)", "buffered: tree(bySeq)", "modules/buffer:TraceOfACorrection", false},
	{"an import takes a number of the site, in a trace", "platform/txn/internal/db/writes.sql.go", "SET last_seq = greatest(last_seq, $1)\n", "SET batch = batch + 1, last_seq = greatest(last_seq, $1)\n", "modules/buffer:TraceOfAnImportIs", false},
	{"an import leaves the last seq, in a trace", "platform/txn/internal/db/writes.sql.go", "SET last_seq = greatest(last_seq, $1)\n", "SET last_seq = greatest(last_seq, $1 * 0)\n", "modules/buffer:TraceOfAnImportIs", false},

	// Positions.
	{"positions are compared as text", "platform/lsn/standing.go", "return s.LSN >= at.LSN, nil", "return s.LSN.String() >= at.LSN.String(), nil", "Standing", false},
	{"any timeline will do", "platform/lsn/standing.go", "case at.Timeline == s.Timeline:", "case true:", "Standing", false},

	// What a request may ask, and who may.
	{"unknown parents are accepted", "modules/observations/executions.go", "\tif !refs.ObsUnit {", "\tif false {", "StartRefuses", false},
	{"finished twice", "modules/observations/executions.go", "if status != \"\" && status != string(db.ExecutionStatusRunning) {", "if false {", "FinishClosesOnce", false},
	{"a comment of main is overwritten", "modules/observations/internal/db/writes.sql.go", "        comment = CASE WHEN $11::boolean THEN $12::text ELSE comment END,\n", "        comment = $12::text,\n", "PendingRowsEqual|FinishCloses", false},
	{"a finish overwrites a newer state", "modules/observations/internal/db/writes.sql.go", "      AND status = 'running'\n      AND ($17::integer IS NULL\n           OR version = $17::integer AND updated_at = $18::timestamptz)\n    RETURNING id\n)\nSELECT must_change(count(*)) FROM changed", "      AND ($17::integer IS NULL\n           OR version = $17::integer AND updated_at = $18::timestamptz)\n    RETURNING id\n)\nSELECT must_change(count(*)) FROM changed", "LateFinish", false},
	{"an update that changes nothing succeeds", "modules/observations/internal/db/writes.sql.go", "           OR version = $17::integer AND updated_at = $18::timestamptz)\n    RETURNING id\n)\nSELECT must_change(count(*)) FROM changed", "           OR version = $17::integer AND updated_at = $18::timestamptz)\n    RETURNING id\n)\nSELECT must_change(1) FROM changed", "LateFinish", false},
	{"the permission is not asked for", "platform/api/auth.go", "if p := permit(st.op, principal); p != nil {", "if p := permit(st.op, principal); false && p != nil {", "CredentialsComeBefore|OpenAndAnyUser", false},
	{"only the refresh token before the last counts as used", "modules/auth/login.go", "turn == pending.LoginRefused && subtle", "false && subtle", "EveryUsed", false},
	{"a client that does not read is waited for", "platform/api/server.go", "SetWriteDeadline(time.Now().Add(c.patience))", "SetWriteDeadline(time.Time{})", "ClientThatDoesNotRead", false},
	{"the credentials of a user share a rate", "platform/api/auth.go", "policy, key = \"credential\", p.credential()", "policy, key = \"credential\", p.Actor()", "RateLimitIsPerCredential", false},
	{"what asks GitHub has no rate of its own", "platform/api/operation.go", "if op.PerMinute > 0 {", "if false {", "ScarceOperations", false},
	{"who manages users gives everything", "modules/auth/write.go", "if !p.Can(permission) {", "if !p.Can(permission) && false {", "NobodyGives", false},
	{"a code is good with any verifier", "modules/auth/sessions.go", "[]byte(challengeOf(verifier))) != 1 {", "[]byte(challengeOf(verifier))) < 0 {", "LoginEndsOnly", false},
	{"a code that was used begins a family of its own", "modules/auth/sessions.go", "family: [16]byte(c.Family)}.code(text), true", "family: [16]byte{}}.code(text), true", "CodeOfARenewedSession", false},
	{"main is not asked whether who asks still may", "modules/auth/write.go", "tx.Add(lockRoles{})\n\t\ttx.Add(asking(ctx, user)...)", "tx.Add(lockRoles{})", "WhoHasLostARight", false},
	{"numbers are measured as they are sent", "platform/api/stored_size.go", "size += zeros(string(json[i+1 : end]))", "size += 0 * zeros(string(json[i+1 : end]))", "modules/observations:FreeJSON", false},
	{"main is not asked what somebody is given", "modules/auth/operations_users.go", "if body.Roles.Set || body.IsActive.Value {", "if false {", "NobodyGivesBack", false},
	{"main is not asked what a service account's token permits", "modules/auth/operations_tokens.go", "if n.forAnother {\n\t\t\ttx.Add(", "if false {\n\t\t\ttx.Add(", "NobodyGivesBack", false},
	{"main is asked before who takes has done so", "modules/auth/write.go", "[]txn.Step{lockUsers{IDs: []int64{p.UserID, about}}, step}", "[]txn.Step{step, lockUsers{IDs: []int64{p.UserID, about}}}", "WhatIsBeingTaken", false},
	{"a session that has ended throws others out", "modules/auth/operations_sessions.go", "over := everywhere && errors.Is(", "over := false && errors.Is(", "SessionThatHasEndedElsewhereThrows", false},
	{"main is not asked what a role is given", "modules/auth/operations_roles.go", "tx.Add(mayPermit{RoleID: role.ID, Permissions: permissions, OwnPermissions: ownPermissions(ctx)}, step,", "tx.Add(step,", "NobodyGivesBack", false},
	{"sessions of an account that is unlinked go on", "modules/auth/internal/db/writes.sql.go", "AND github_id IS NOT NULL THEN greatest(sessions_from,", "AND github_id IS NULL THEN greatest(sessions_from,", "UserOfAnotherAccount", false},
	{"a login is written for whom an account was", "modules/auth/internal/db/writes.sql.go", "is_active AND github_id = $", "is_active AND 0 < $", "UserOfAnotherAccount", false},
	{"who tries to give more is not noted", "platform/api/operation.go", "if errors.Is(p, problem.Forbidden) && st.principal != nil", "if errors.Is(p, problem.Forbidden) && st.principal == nil", "modules/auth:NobodyGives", false},
	{"main is not asked what a session is worth by now", "modules/auth/write.go", "if !p.Began.IsZero() {", "if false {", "SessionThatHasEnded", false},
	{"a look-up from before a revocation lets in", "modules/auth/authenticate.go", "result.generation == a.cache.generation()", "result.generation <= a.cache.generation()", "WhatWasReadBefore", false},
	{"who shares an address with a guesser waits", "modules/auth/authenticate.go", "if in, all := a.isInUse(ctx, hash); in || all {", "if in, all := false, true; in || all {", "GuessesCostNoLookUp", false},
	{"wrong refresh tokens are no guesses", "modules/auth/login.go", "fmt.Errorf(\"%w: %w\", api.ErrWrongSecret, problem", "fmt.Errorf(\"%w: %w\", errors.New(\"wrong\"), problem", "WrongRefreshTokens", false},
	{"who is denied logs in", "modules/auth/login.go", "api.Principal{Username: here.Username}", "api.Principal{}", "DeniedUserDoesNotLogIn", false},
	{"requests of one key all go to the primary", "platform/txn/attempts.go", "if req.Key == \"\" || req.ValidateOnly {", "if req.Key != \"-\" {", "platform/txn:RequestsOfOneKey", false},
	{"a session of others is ended", "modules/auth/operations_own_sessions.go", "if session == nil || session.UserID != p.UserID {", "if session == nil {", "OwnSessions", false},
	{"what was read before a revocation is remembered", "modules/auth/authenticate.go", "if a.cache.generation() != generation {", "if a.cache.generation() != generation && false {", "WhatWasReadBefore", false},
	{"the ledger is rewritten", "sql/migrations/00023_ledger_written_once.sql", "WHEN (OLD.changes <> '[]'::jsonb)", "WHEN (false)", "sql:TheLedgerIsWrittenOnce", false},
	{"a body is waited for without end", "platform/api/handler.go", "if err := bodyWithin(w, req, r.bodyTimeout); err != nil {", "if err := error(nil); err != nil {", "BodyThatDoesNotCome", false},
	{"the denied renew their sessions", "modules/auth/login.go", "api.Principal{Username: session.Username, SessionID: session.ID}", "api.Principal{}", "DeniedSession", false},
	{"who manages users lets administrators in again", "modules/auth/operations_users.go", "|| active && !user.IsActive {", "{", "NobodyGives", false},
	{"pages of others end logins", "modules/auth/operations_sessions.go", "func (m *Module) exchange(ctx context.Context, in *exchangeInput) (*accessOutput, error) {\n\tif err := api.CheckOrigin(ctx, m.origins); err != nil {", "func (m *Module) exchange(ctx context.Context, in *exchangeInput) (*accessOutput, error) {\n\tif err := error(nil); err != nil {", "RefreshRotates", false},
	{"a session ended elsewhere passes", "modules/auth/jwt.go", "session.Created.Before(*entry.SessionsFrom):", "false:", "SessionsEndAt", false},
	{"old sessions come back with their user", "modules/auth/internal/db/writes.sql.go", "CASE WHEN NOT $1::boolean THEN greatest", "CASE WHEN false THEN greatest", "SessionsEndAt", false},
	{"other sites hear of no logout", "modules/auth/operations_sessions.go", "EndSessions{UserID: session.UserID, ", "EndSessions{UserID: 0, ", "TestLogout", false},
	{"sessions are kept for ever", "modules/auth/internal/db/writes.sql.go", "s.expires_at < $9::timestamptz", "false AND s.expires_at < $9::timestamptz", "SessionsOfLongAgo", false},
	{"who was put out stays remembered", "modules/auth/follow.go", "if now.rights != now.rechecked {", "if false {", "WhoWasPutOut", false},
	{"what is verified anew is known no more", "modules/auth/cache.go", "element.Value = &verified{hash: hash}", "delete(c.entries, hash)\n\t\t\tc.recent.Remove(element)", "Guesses", false},
	{"every use of a token is a right lost", "sql/migrations/00021_sessions_of_a_user.sql", "WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active) EXECUTE", "WHEN (true) EXECUTE", "modules/auth:NothingIsLookedUp", false},
	{"a first login is called as any other", "modules/auth/login.go", "if who.made {", "if false {", "LoginsAndTheirEnds", false},
	{"answers say nothing of referrers", "platform/api/handler.go", "\t\"Referrer-Policy\":         {\"no-referrer\"},\n", "", "HeadersOfEvery", false},
	{"pages may frame answers", "platform/api/handler.go", "base-uri 'none'; frame-ancestors 'none'", "base-uri 'none'", "HeadersOfEvery", false},
	{"TRACE is answered", "platform/api/handler.go", "\tif req.Method == http.MethodConnect || !clean", "\tif req.Method == http.MethodTrace {\n\t\treq.Method = http.MethodGet\n\t}\n\tif req.Method == http.MethodConnect || !clean", "RouterErrors", false},
	{"a flood gives full buckets back", "platform/api/limits.go", "if !b.used.After(middle) {", "if true || b.used.After(middle) {", "LimitsGoBy", false},
	{"each address of a network has a bucket", "platform/api/limits.go", "if client.Is6() {", "if false {", "LimitsGoBy", false},
	{"an expired token passes", "modules/auth/authenticate.go", "if !principal.Expires.IsZero() && !now.Before(principal.Expires) {", "if false {", "TokenExpires|WhatIsNoValid", false},
	{"a revoked token passes", "modules/auth/authenticate.go", "case !row.TokenActive:", "case false:", "WhatIsNoValid|Revoked", false},
	{"scopes are not looked at", "modules/auth/rights.go", "if len(scopes) == 0 || slices", "if true || slices", "RightsOfItsUser", false},
	{"a revoked token is remembered", "modules/auth/authenticate.go", "\t\ta.refuse(ctx, key)\n", "", "RevokedTokenIsNotRemembered", false},
	{"what cannot be checked is called wrong", "modules/auth/authenticate.go", "return entitlement{}, 0, problem.CredentialsUnavailable.New(", "return entitlement{}, 0, problem.Unauthorized.New(", "CannotCheck|NothingCanBeChecked", false},
	{"another site's key signs here", "modules/auth/keyring.go", "if key.kid == kid && key.site == k.site {", "if key.kid == kid {", "WhatIsNoValidAccessToken", false},
	{"an ended session passes", "modules/auth/sessions.go", "if row.RevokedAt != nil || !t.now()", "if !t.now()", "WhatIsNoValidAccessToken", false},
	{"a stolen refresh token is not noticed", "platform/pending/scripts/renew_login.lua", "redis.call('DEL', login)\n", "", "modules/auth:RenewedOnce", false},
	{"what was read before a revocation is trusted after it", "modules/auth/cache.go", "if generation != c.drops {", "if false {", "BeforeADrop", false},
	{"a login ends in another browser", "modules/auth/login.go", "subtle.ConstantTimeCompare([]byte(b.State), []byte(state)) == 1 && ", "subtle.ConstantTimeCompare([]byte(b.State), []byte(state)) >= 0 && ", "LoginEndsOnly", false},
	{"GitHub's redirects are followed", "modules/auth/github.go", "return http.ErrUseLastResponse }", "return nil }", "GitHubThatDoesNotWork", false},
	{"an event has a transaction of its own", "modules/auth/audit_record.go", "\tif !l.config.Joint {\n\t\treturn to.Write(ctx, request, build)\n\t}\n", "\tif true {\n\t\treceipt, err := to.Write(ctx, request, build)\n\t\tif err == nil {\n\t\t\tl.Record(ctx, event())\n\t\t}\n\t\treturn receipt, err\n\t}\n", "WhatIsDoneAtMainIsCommitted", false},
	{"refusals share one budget", "modules/auth/audit_login.go", "who := refusedActor{kind, actor}", "who := refusedActor{}", "RefusalsOfManyAreBounded", false},
	{"a login waits whatever the conflict", "modules/auth/login.go", "\treturn slices.ContainsFunc(refused.Errors, func(e problem.FieldError) bool {\n", "\treturn true || slices.ContainsFunc(refused.Errors, func(e problem.FieldError) bool {\n", "OnlyAUserMadeElsewhere", false},
	{"a list of roles makes a team's permanent", "modules/auth/internal/db/writes.sql.go", "FROM wanted w\n    ON CONFLICT DO NOTHING\n)\nSELECT must_change(count(*), cardinality($1::text[])) FROM wanted\n`\n\ntype SetUserRolesParams", "FROM wanted w\n    ON CONFLICT (user_id, role_id) DO UPDATE SET from_team = false\n)\nSELECT must_change(count(*), cardinality($1::text[])) FROM wanted\n`\n\ntype SetUserRolesParams", "modules/auth:RolesThatTeamsGave", false},
	{"an outsider logs in", "modules/auth/github.go", "if !found || membership.State != \"active\" {", "if found && false {", "WhoMayNotLogIn", false},
	{"a name decides whose login it is", "modules/auth/login.go", "if row.GithubID != nil && *row.GithubID == person.ID {", "if row.Username == person.Login {", "WhoMayNotLogIn", false},
	{"another page uses the session", "modules/auth/operations_sessions.go", "(secret, error) {\n\tif err := api.CheckOrigin(ctx, m.origins); err != nil {", "(secret, error) {\n\tif err := api.CheckOrigin(ctx, m.origins); false && err != nil {", "RefreshRotates", false},
	{"roles of a team left behind stay", "modules/auth/internal/db/writes.sql.go", "AND from_team AND role_id NOT IN (SELECT id FROM wanted)", "AND false", "RolesFollow", false},
	{"who is denied here gets in", "modules/auth/authenticate.go", "\tif refused {\n", "\tif false && refused {\n", "cmd/opsdb:DeniedAt", false},
	{"an expired access token passes", "modules/auth/jwt.go", "\t\treturn accessClaims{}, problem.Unauthorized.New(\"the access token has expired: refresh the session\")\n", "\t\tclaims.ExpiresAt = jwt.NewNumericDate(t.now().Add(time.Hour))\n", "cmd/opsdb:EveryOperationAnswers", false},
	{"who may is told that it cannot be checked", "platform/api/auth.go", "\tcase op.Permission == AnyUser:\n\t\treturn nil\n", "\tcase op.Permission == AnyUser && principal.Service:\n\t\treturn problem.CredentialsUnavailable.New(\"\")\n\tcase op.Permission == AnyUser:\n\t\treturn nil\n", "cmd/opsdb:EveryOperationAnswers", false},
	{"an operation is open that nobody has listed", "modules/auth/operations_preferences.go", "Method: http.MethodGet, Path: \"/user_preferences\", Permission: api.AnyUser", "Method: http.MethodGet, Path: \"/user_preferences\", Permission: api.Open", "cmd/opsdb:OpenOperations", false},
	{"an answer repeats the credential in its path", "platform/api/operation.go", "problem.Mask(st.path)", "st.path", "cmd/opsdb:NoSecretIsSaid", false},
	{"the process list shows a password", "platform/sandbox/postgres.go", "fmt.Sprintf(\"host=127.0.0.1 port=%d user=%s sslmode=disable\", s.Primary.Port, replicationRole)", "s.Primary.url(\"\", replicationRole, s.secrets.Replication, s.Primary.Port)", "cmd/opsdb:NoSecretIsSaid", false},
	{"a token is logged", "modules/auth/authenticate.go", "\thash, _, err := ParseToken(bearer)\n", "\ta.logger.DebugContext(ctx, \"a credential\", \"bearer\", bearer)\n\thash, _, err := ParseToken(bearer)\n", "VerifiedTokenIsTrusted", false},
	{"an answer repeats a credential in a list", "platform/problem/problem.go", "hidesSecret(encoded) || credentials.Match(encoded)", "hidesSecret(encoded)", "SecretsAreNotShown", false},
	{"a transaction of others is shown", "modules/buffer/operations_transactions.go", "if !found || !known || principal.Actor() != t.Actor && !principal.Can(\"read:buffer\") {", "if !found || !known || false && principal.Actor() == t.Actor {", "OperationsAt", false},
}

// TestMain runs everything in the root of the repository, where the names of
// the files begin.
func TestMain(m *testing.M) {
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestPlantsAreAboutTheCodeAsItIs keeps the list fit for use: each mistake can
// still be made.
func TestPlantsAreAboutTheCodeAsItIs(t *testing.T) {
	page, err := os.ReadFile("docs/benchmarks/plants.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range plants {
		if !strings.Contains(string(page), "| "+p.name+" | `"+p.file+"` |") {
			t.Errorf("%s: docs/benchmarks/plants.md does not list it", p.name)
		}
		if names[p.name] {
			t.Errorf("%q stands twice", p.name)
		}
		names[p.name] = true
		source, err := os.ReadFile(p.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), p.old); n != 1 {
			t.Errorf("%s: its text stands %d times in %s, not once", p.name, n, p.file)
		}
	}
}

func TestPlantedFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("runs tests again for each planted fault")
	}
	all := os.Getenv("OPSDB_PLANTS") == "all"
	for _, p := range plants {
		if all || p.always {
			t.Run(p.name, p.isNoticed)
		}
	}
}

// isNoticed makes the mistake and expects the test to fail.
func (p plant) isNoticed(t *testing.T) {
	dir := t.TempDir()
	source, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	planted := filepath.Join(dir, path.Base(p.file))
	if err := os.WriteFile(planted, []byte(strings.Replace(string(source), p.old, p.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	original, err := filepath.Abs(p.file)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: planted}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	folder, test := p.place()
	// A fault that shows by chance gets several chances.
	for range 3 {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-run", test, "-count=1", "-timeout", "6m", "./"+folder)
		// By GOFLAGS, for the tests that build the program themselves.
		cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlayFile)
		out, err := cmd.CombinedOutput()
		for _, empty := range []string{"[build failed]", "no tests to run", "[setup failed]"} {
			if strings.Contains(string(out), empty) {
				t.Fatalf("the plant proves nothing:\n%s", out)
			}
		}
		if err != nil {
			// One that was only too slow, on a busy machine, has not noticed anything.
			if !strings.Contains(string(out), "--- FAIL: ") {
				t.Fatalf("no test has failed by what it says:\n%s", out)
			}
			return
		}
	}
	t.Errorf("nobody noticed: %s", p.name)
}

// place is the package whose test must fail, and the test.
func (p plant) place() (folder, test string) {
	if folder, test, ok := strings.Cut(p.test, ":"); ok {
		return folder, test
	}
	folder = path.Dir(p.file)
	folder = strings.TrimSuffix(folder, "/scripts")
	return strings.TrimSuffix(folder, "/internal/db"), p.test
}
