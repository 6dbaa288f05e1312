package pending

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// plant is a mistake that the tests must find. Production code has no switches:
// the file is changed for one run of the tests (go test -overlay).
type plant struct {
	name, file, old, new string
	// test is what must fail.
	test string
	// always: run with every `go test`; the others with OPSDB_PLANTS=all.
	always bool
}

var plants = []plant{
	{"half of the catch-ups skipped", "reader.go", "\tview, err = r.store.CatchUp(ctx)\n", "\tif view = r.store.Current(); time.Now().UnixNano()&1 == 0 {\n\t\tview, err = r.store.CatchUp(ctx)\n\t}\n", "EveryAnswer", true},
	{"nothing is replaced", "narrow.go", "if !r.moved && !never && (!r.created || r.clientID || r.createSeq <= n.lastSeq) {", "if _ = never; false {", "EveryAnswer", true},
	{"snapshot before view", "reader.go", "\tif s.Batch < view.Swept {\n\t\treturn true, nil\n\t}\n", "\ttime.Sleep(10 * time.Millisecond)\n\tif r.store != nil {\n\t\tif view, err = r.store.CatchUp(ctx); err != nil {\n\t\t\treturn false, err\n\t\t}\n\t}\n", "EveryAnswer", true},
	{"creates missing from replaced", "narrow.go", "(!r.created || r.clientID || r.createSeq <= n.lastSeq)", "!r.created", "EveryAnswer|Narrowing", false},
	{"updates missing from replaced", "narrow.go", "(!r.created || r.clientID || r.createSeq <= n.lastSeq)", "(r.created && (r.clientID || r.createSeq <= n.lastSeq))", "EveryAnswer|Narrowing", false},
	{"a full walk without a bound", "narrow.go", "\tif stopped != nil {", "\tif false {", "Narrowing", false},
	{"updates only in the path they name", "rows.go", "if n.values[i] == nil || !p.fixed && n.changes(p.column) {", "if n.values[i] == nil {", "Narrowing", false},
	{"swept when applied", "tracker.go", "gone := s.Current().Applied(batch)", "batch = 1 << 52\n\tgone := s.Current().Applied(batch)", "EveryAnswer", false},
	{"a request does not wait for an exchange that began after it", "catchup.go", "\tcase <-mine.done:\n\t\treturn mine.view, mine.err\n", "\tcase <-mine.done:\n\t\treturn mine.view, mine.err\n\tdefault:\n\t\treturn s.Current(), nil\n", "SharesTheNext", false},
	{"no guard", "scripts/accept.lua", "if newest and tonumber(newest) > seen then", "if false then", "AcceptIsStale|TwoProcesses", false},
	{"no load in accept", "scripts/accept.lua", "if redis.call('GET', p .. 'load') ~= load then", "if false then", "AcceptIsStale|Restart", false},
	{"idempotency after capacity", "scripts/accept.lua", "local first = redis.call('HGET', p .. 'idempotency', field)", "local first = redis.call('LLEN', buffer) + redis.call('HLEN', dead) < tonumber(capacity) and redis.call('HGET', p .. 'idempotency', field)", "AcceptLooks", false},
	{"no epoch", "scripts/prelude.lua", "return redis.call('GET', p .. 'epoch') ~= epoch or redis.call('GET', p .. 'load') ~= load", "return redis.call('GET', p .. 'load') ~= load", "ScriptsOfAProcessor", false},
	{"no load in a processor's scripts", "scripts/prelude.lua", "return redis.call('GET', p .. 'epoch') ~= epoch or redis.call('GET', p .. 'load') ~= load", "return redis.call('GET', p .. 'epoch') ~= epoch", "ScriptsOfAProcessor", false},
	{"retry at the new end", "scripts/prelude.lua", "  put(seqs)\n  emit('e', 'queued'", "  for _, seq in ipairs(seqs) do redis.call('LPUSH', buffer, line_of(seq)) end\n  emit('e', 'queued'", "RetryGoesBack", false},
	{"retry leaves what it blocks", "scripts/retry.lua", "for _, seq in ipairs(#again > 0 and held(set) or {}) do", "for _, seq in ipairs({}) do", "RetryGoesBack", false},
	{"settling releases nothing", "scripts/settle.lua", "if free then", "if false then", "SettleReleases", false},
	{"blocks whatever its blocker is", "scripts/block.lua", "if is_dead(by) then", "if true then", "BlockLeaves", false},
	{"fails what has left the buffer", "scripts/fail.lua", "  if found[seq] then\n    found[seq] = nil\n    local n", "  if true then\n    local n", "ScriptsOfAProcessor", false},
	{"put-back leaves the replicated ones", "scripts/put_back.lua", "if redis.call('HEXISTS', discarded, seq) == 0 then\n    redis.call('ZREM', applied", "if redis.call('HEXISTS', discarded, seq) == 0 and not redis.call('ZSCORE', replicated, seq) then\n    redis.call('ZREM', applied", "Restart", false},
	{"put-back without a new epoch", "scripts/put_back.lua", "redis.call('INCR', p .. 'epoch')\n", "", "Restart", false},
	{"lost tail: replicated ones stay", "scripts/connected.lua", "if redis.call('HEXISTS', discarded, seq) == 0 then", "if redis.call('HEXISTS', discarded, seq) == 0 and not redis.call('ZSCORE', replicated, seq) then", "LostTail", false},
	{"seq not raised to the claim's", "scripts/connected.lua", "redis.call('SET', p .. 'seq', ARGV[4])", "local _ = 0", "Emptied", false},
	{"numbers begin at the claim, not at the clock", "scripts/connected.lua", "text(math.max(batch, claim, now))", "text(claim)", "LostTail|Connected", false},
	{"numbers are not kept", "scripts/raise_batch.lua", "redis.call('SET', p .. 'batch', text(batch + tonumber(ARGV[3])))", "local _ = 0", "LostTail", false},
	{"swept lowered below what expired", "scripts/unsweep.lua", "math.max(batch, tonumber(redis.call('GET', p .. 'expired') or '0'))", "batch", "GoesBack", false},
	{"retention of nothing", "tracker.go", "until := now.Add(-s.opts.Retention).UnixMilli()", "until := now.UnixMilli()", "Expire", false},
	{"a dead letter leaves the view", "follow.go", "return ok && s.change(seq, func(t *Tx) { t.State, t.Dead", "s.drop(seq)\n\t\tif true {\n\t\t\treturn true\n\t\t}\n\t\treturn ok && s.change(seq, func(t *Tx) { t.State, t.Dead", "ScriptsOfAProcessor|ViewEquals", false},
	{"id-taken stays in the view", "state.go", "&& p.Type == \"/problems/id-taken\"", "&& p.Type == \"never\"", "IDTaken", false},
}

func TestPlantedFaults(t *testing.T) {
	if testing.Short() || os.Getenv("OPSDB_PLANTED") != "" {
		t.Skip("runs the tests again for each planted fault")
	}
	all := os.Getenv("OPSDB_PLANTS") == "all"
	for _, p := range plants {
		if !all && !p.always {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			source, err := os.ReadFile(p.file)
			must(t, err)
			if strings.Count(string(source), p.old) != 1 {
				t.Fatalf("%s is not once in %s", p.old, p.file)
			}
			dir := t.TempDir()
			planted := filepath.Join(dir, filepath.Base(p.file))
			must(t, os.WriteFile(planted, []byte(strings.Replace(string(source), p.old, p.new, 1)), 0o600))
			original, err := filepath.Abs(p.file)
			must(t, err)
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: planted}})
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
			// A fault that shows by chance gets several chances.
			for range 3 {
				cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", filepath.Join(dir, "overlay.json"), "-run", p.test, "-count=1", ".")
				cmd.Env = append(os.Environ(), "OPSDB_PLANTED=1")
				out, err := cmd.CombinedOutput()
				if strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "no tests to run") {
					t.Fatalf("the plant proves nothing:\n%s", out)
				}
				if err != nil {
					return
				}
			}
			t.Errorf("nobody noticed that %s", p.name)
		})
	}
}
