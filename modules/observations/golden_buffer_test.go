package observations_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/modules/observations"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

// goldenBuffer is a site's buffer as some version has left it in Redis, and what
// must be at main once it has drained.
type goldenBuffer struct {
	// Want are the ids of its transactions that come to be applied, Discarded of those
	// that operators have discarded.
	Want      []string `json:"want"`
	Discarded []string `json:"discarded"`
	// Execution is one that it begins and finishes.
	Execution string               `json:"execution"`
	Keys      map[string]goldenKey `json:"keys"` // without the site's prefix
}

// goldenKey is one key: the words that follow the key in the command that makes it.
type goldenKey struct {
	Type   string   `json:"type"`
	Values []string `json:"values"`
	// Entries are those of a stream: id, then names and values in turn.
	Entries [][]string `json:"entries,omitempty"`
}

// The rows of main that golden buffers refer to have ids of their own, so that
// other demo data does not break the buffers of old versions.
const (
	goldenUnit          = 900_001
	goldenModule        = 900_002
	goldenLocation      = 900_003
	goldenConfiguration = 900_004
	goldenToken         = 900_005 // which main need not have
	goldenUser          = 900_006 // nor this one
)

const goldenParents = `
INSERT INTO obs_unit OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(u, '{"id": 900001, "name": "golden unit"}')).* FROM obs_unit u WHERE name = 'OrionA-280';
INSERT INTO instrument_module OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(m, '{"id": 900002, "name": "golden module"}')).* FROM instrument_module m WHERE name = 'Mod280';
INSERT INTO data_location OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(l, '{"id": 900003, "name": "golden_location"}')).* FROM data_location l WHERE name = 'primecam_raw_data';
INSERT INTO instrument_module_configuration OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(c, '{"id": 900004, "name": "golden configuration"}')).* FROM instrument_module_configuration c WHERE name = 'Mod280-default';`

func goldenPair(t *testing.T) (*sandboxtest.Pair, *rdb.Client) {
	t.Helper()
	pair := sandboxtest.New(t, sandboxtest.Seeded())
	pair.Exec(t, goldenParents)
	pair.WaitForReplay(t)
	client, err := rdb.Open(rdb.Options{URL: pair.RedisURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return pair, client
}

// TestGoldenBuffersDrain: a site may be upgraded with a full buffer. What each
// version has left in Redis is loaded, shown, applied and confirmed by this one.
//
// `OPSDB_GOLDEN_BUFFER=<version> go test ./modules/observations -run TestGoldenBuffersDrain`
// writes the buffer of a new version; those of released ones never change.
// writeGoldenBuffer has to make every kind of step: TestEveryKindIsInAGoldenBuffer
// of cmd/opsdb says which one is missing.
func TestGoldenBuffersDrain(t *testing.T) {
	t.Parallel()
	if version := os.Getenv("OPSDB_GOLDEN_BUFFER"); version != "" {
		writeGoldenBuffer(t, version)
		return // this Redis is the one it ran on, which would find nothing to send again
	}
	files, err := filepath.Glob("testdata/buffers/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no golden buffers: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			drainGoldenBuffer(t, file)
		})
	}
}

func drainGoldenBuffer(t *testing.T, file string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var golden goldenBuffer
	if err := json.Unmarshal(content, &golden); err != nil {
		t.Fatal(err)
	}
	pair, client := goldenPair(t)
	ctx := sandboxtest.Context(t)
	for name, key := range golden.Keys {
		key.load(t, client, "site:"+pair.Site+":"+name)
	}
	s := wire(t, pair)
	store, at := s.store, s.secondary
	at.t = t
	view, err := store.CatchUp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Redis is another one than the version ran on, so all but the dead letters is to be
	// sent again.
	if c := view.Counts(); c.Buffered == 0 || c.Failed != 1 || c.Blocked != 1 || c.Buffered+2 != len(golden.Want) {
		t.Fatalf("the loaded buffer has %+v, want %d transactions, one of them failed and one blocked", c, len(golden.Want))
	}
	// The version had seen its rows on a replica that knew them; this one does not.
	if _, err := store.Unsweep(ctx, view.Load, 0); err != nil {
		t.Fatal(err)
	}
	if got := at.get("/executed_obs_units/" + golden.Execution).want(http.StatusOK).text("status"); got != "completed" {
		t.Errorf("before it has drained, the execution is %q", got)
	}
	if _, err := store.Retry(ctx, view.Dead()[0].Seq); err != nil {
		t.Fatal(err)
	}
	s.drain(t)
	sandboxtest.Eventually(t, time.Minute, "the old buffer to be at main and back", func() bool {
		c := store.Current().Counts()
		return c.Buffered+c.Applied+c.Failed+c.Blocked == 0
	})
	for outcome, ids := range map[string][]string{"applied": golden.Want, "discarded": golden.Discarded} {
		for _, id := range ids {
			if n := one[int](t, s, "SELECT count(*) FROM applied_transaction WHERE id = $1 AND outcome::text = $2", id, outcome); n != 1 {
				t.Errorf("the ledger has transaction %s %d times as %s", id, n, outcome)
			}
		}
	}
	if got := at.get("/executed_obs_units/" + golden.Execution).want(http.StatusOK); got.text("status") != "completed" || got.number("file_count") < 4 {
		t.Errorf("after it has drained: %v", got)
	}
}

func (k goldenKey) load(t *testing.T, client *rdb.Client, key string) {
	t.Helper()
	do := func(command string, words ...string) {
		args := []any{command, key}
		for _, w := range words {
			args = append(args, w)
		}
		if err := client.Do(sandboxtest.Context(t), args...).Err(); err != nil {
			t.Fatalf("%s %s: %v", command, key, err)
		}
	}
	commands := map[string]string{"string": "SET", "list": "RPUSH", "hash": "HSET", "zset": "ZADD"}
	if k.Type == "stream" {
		for _, entry := range k.Entries {
			do("XADD", entry...)
		}
		return
	}
	do(commands[k.Type], k.Values...)
}

// writeGoldenBuffer fills a buffer with every kind of write and every state, and
// keeps it as the one of a version.
func writeGoldenBuffer(t *testing.T, version string) {
	t.Helper()
	pair, client := goldenPair(t)
	s := wire(t, pair)
	ctx := sandboxtest.Context(t)
	at := s.secondary
	at.t = t
	execution := at.start(goldenUnit, object{"start_time": "2026-07-16T11:20:00Z", "comment": "golden", "module_configuration_ids": []int64{goldenConfiguration}, "conditions": object{"wind": object{"speed": 10}}}, "Idempotency-Key", "golden-start").id()
	at.post("/raw_data_files", with(file(execution, goldenModule, "golden/one.g3"), "data_location_id", goldenLocation)).want(http.StatusCreated)
	at.post("/raw_data_files/bulk", []object{
		with(file(execution, goldenModule, "golden/bulk/0.g3"), "data_location_id", goldenLocation), file(execution, goldenModule, "golden/bulk/1.g3"),
		with(file(execution, goldenModule, "golden/bulk/2.g3"), "data_location_id", goldenLocation),
	}).want(http.StatusCreated)
	pack := at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": goldenModule, "metadata": object{"band": "280"}}).want(http.StatusCreated).id()
	at.do(http.MethodPatch, "/executed_obs_units/"+execution, object{"comment": "patched"}).want(http.StatusOK)
	at.put("/executed_obs_units/"+execution+"/finish", object{"status": "completed", "end_time": "2026-07-16T11:40:00Z", "pwv_mm": 0.6}).want(http.StatusOK)
	at.put("/raw_data_package/"+pack+"/finalize", object{"size_bytes": 4096, "checksum_algorithm": "xxh64", "checksum": "00ff00ff00ff00ff"}).want(http.StatusOK)
	auth.NewLog(auth.LogConfig{Writer: at.writer, Site: s.Site, Logger: slog.Default()}).Record(ctx, auth.Event{Action: "golden.event", Table: "role", Row: "1", Detail: map[string]any{"text": "golden", "number": 1}})
	at.start(goldenUnit, object{"comment": "a discarded dead letter"})
	at.start(goldenUnit, object{"comment": "a dead letter that is replaced"})
	failed := at.start(goldenUnit, object{"comment": "a dead letter"}).id()
	at.do(http.MethodPatch, "/executed_obs_units/"+failed, object{"comment": "blocked by it"}).want(http.StatusOK)

	// The states a buffer can have: the first is replicated, the second applied, one
	// failed and one is blocked by it; the others wait.
	var all []*pending.Tx
	s.store.Current().Ascend(0, func(tx *pending.Tx) bool { all = append(all, tx); return true })
	session, err := s.store.BeginEpoch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := session.Connected(ctx, pending.Claim{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := session.RaiseBatch(ctx, 2)
	if err != nil || first <= connection.Batch {
		t.Fatalf("batch %d after %d: %v", first, connection.Batch, err)
	}
	discarded, replaced, dead := all[len(all)-4], all[len(all)-3], all[len(all)-2]
	problem := json.RawMessage(`{"type":"/problems/parent-missing","title":"golden","status":422}`)
	for _, err := range []error{
		session.Settle(ctx, []pending.Settled{
			{Seq: all[0].Seq, Position: first, LSN: "0/1000", Outcome: pending.StateApplied},
			{Seq: all[1].Seq, Position: first + 1, LSN: "0/2000", Outcome: pending.StateApplied},
		}),
		session.Fail(ctx, []pending.Failure{
			{Seq: discarded.Seq, Problem: problem, At: time.Date(2026, 7, 16, 12, 0, 0, 0, time.UTC)},
			{Seq: replaced.Seq, Problem: problem, At: time.Date(2026, 7, 16, 12, 0, 0, 0, time.UTC)},
			{Seq: dead.Seq, Problem: problem, At: time.Date(2026, 7, 16, 12, 0, 0, 0, time.UTC)},
		}),
		session.Block(ctx, []pending.Blocking{{Seq: dead.Seq + 1, By: dead.Seq}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.store.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	request := txn.Request{Operation: "discard-dead-letter", Actor: "user:golden"}
	_, decision, err := buffer.DiscardDeadLetter(ctx, at.writer, s.catalog, request, discarded.ID, "golden")
	if err != nil {
		t.Fatal(err)
	}

	if _, err := s.store.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	request.Operation = "replace-dead-letter"
	editor := observations.New(observations.Config{Writer: at.writer, Reader: at.reader, Site: s.Site, PackageMaxBytes: 100_000_000_000}).Editor()
	_, replacement, err := buffer.ReplaceDeadLetter(ctx, at.writer, s.catalog, editor, request, replaced.ID, "golden", json.RawMessage(`{"comment": "replaced"}`))
	if err != nil {
		t.Fatal(err)
	}

	revocation, err := at.writer.Write(ctx, txn.Request{Operation: "deny-credential", Actor: "shell:golden"}, func(_ context.Context, tx *txn.Builder) error {
		tx.Add(auth.Revoke{At: tx.Now(), TokenID: goldenToken}, auth.EndSessions{At: tx.Now(), UserID: goldenUser})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	// Last: no read uses this replica once it is to have shown that.
	if _, err := s.store.MarkReplicated(ctx, session.Load, first); err != nil {
		t.Fatal(err)
	}

	golden := goldenBuffer{Discarded: []string{discarded.ID.String(), replaced.ID.String()}, Execution: execution, Keys: map[string]goldenKey{}}
	for _, tx := range all {
		if tx != discarded && tx != replaced {
			golden.Want = append(golden.Want, tx.ID.String())
		}
	}
	golden.Want = append(golden.Want, decision.TransactionID.String(), replacement.TransactionID.String(), revocation.TransactionID.String())
	prefix := "site:" + s.Site + ":"
	keys, err := client.Keys(ctx, prefix+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		golden.Keys[strings.TrimPrefix(key, prefix)] = dumpKey(t, client, key)
	}
	content, err := json.MarshalIndent(golden, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata/buffers", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata/buffers", version+".json"), append(content, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

func dumpKey(t *testing.T, client *rdb.Client, key string) goldenKey {
	t.Helper()
	ctx := sandboxtest.Context(t)
	kind, err := client.Type(ctx, key).Result()
	if err != nil {
		t.Fatal(err)
	}
	k := goldenKey{Type: kind}
	switch kind {
	case "string":
		value, get := client.Get(ctx, key).Result()
		k.Values, err = []string{value}, get
	case "list":
		k.Values, err = client.LRange(ctx, key, 0, -1).Result()
	case "hash":
		var all map[string]string
		all, err = client.HGetAll(ctx, key).Result()
		for _, field := range slices.Sorted(maps.Keys(all)) {
			k.Values = append(k.Values, field, all[field])
		}
	case "zset":
		members, read := client.ZRangeWithScores(ctx, key, 0, -1).Result()
		err = read
		for _, m := range members {
			k.Values = append(k.Values, strconv.FormatFloat(m.Score, 'f', -1, 64), m.Member.(string))
		}
	case "stream":
		entries, read := client.XRange(ctx, key, "-", "+").Result()
		err = read
		for _, e := range entries {
			words := []string{e.ID}
			for _, name := range slices.Sorted(maps.Keys(e.Values)) {
				words = append(words, name, e.Values[name].(string))
			}
			k.Entries = append(k.Entries, words)
		}
	default:
		t.Fatalf("%s is a %s", key, kind)
	}
	if err != nil {
		t.Fatalf("reading %s: %v", key, err)
	}
	return k
}
