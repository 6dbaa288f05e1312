package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opsdb/opsdb/cmd/opsdb/internal/chaos"
)

// chaosPlant is a mistake that a run of `opsdb chaos` must find by itself.
type chaosPlant struct {
	name, file, old, new string
	// faults and promises: what brings it out, and of which one is to be broken.
	faults   string
	promises []string
}

var chaosPlants = []chaosPlant{
	{"taken from the buffer before the commit is known", "modules/buffer/processor.go",
		"\tencoding := encoding{selection: chosen}\n",
		"\tvar early []pending.Settled\n\tfor n, g := range chosen.groups {\n\t\tfor _, i := range g {\n\t\t\tearly = append(early, pending.Settled{Seq: i.Seq, Position: first + int64(n), Outcome: pending.StateApplied})\n\t\t}\n\t}\n\tif err := s.Settle(ctx, early); err != nil {\n\t\treturn step{}, err\n\t}\n\tencoding := encoding{selection: chosen}\n",
		"link-reset,link-cut-one-way,kill-primary", []string{chaos.Lost}},
	{"answered before it is stored", "platform/txn/buffered.go",
		"\t\taccepted, err := w.config.Store.Accept(ctx, pending.Accept{Transaction: tx, Changes: v.draft.changes, View: v.view, Exempt: v.builder.exempt, Unchecked: !v.builder.Checked()})\n",
		"\t\tgo w.config.Store.Accept(context.WithoutCancel(ctx), pending.Accept{Transaction: tx, Changes: v.draft.changes, View: v.view, Exempt: v.builder.exempt, Unchecked: !v.builder.Checked()})\n\t\tvar accepted pending.Accepted\n",
		"kill-redis,kill-api", []string{chaos.Lost, chaos.OwnWrites, chaos.Told}},
	{"updates missing from replaced", "platform/pending/narrow.go",
		"(!r.created || r.clientID || r.createSeq <= n.lastSeq)", "(r.created && (r.clientID || r.createSeq <= n.lastSeq))",
		"replay-paused,freeze-replica", []string{chaos.Doubled, chaos.OwnWrites, chaos.Monotonic}},
	{"half of the catch-ups skipped", "platform/pending/reader.go",
		"\tview, err = r.store.CatchUp(ctx)\n", "\tif view = r.store.Current(); time.Now().UnixNano()&1 == 0 {\n\t\tview, err = r.store.CatchUp(ctx)\n\t}\n",
		"link-down", []string{chaos.OwnWrites, chaos.Monotonic}},
}

// TestChaosPlantsAreAboutTheCodeAsItIs: that each is found takes minutes and is not tried each time.
func TestChaosPlantsAreAboutTheCodeAsItIs(t *testing.T) {
	t.Parallel()
	for _, p := range chaosPlants {
		source, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(p.file)))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), p.old); n != 1 {
			t.Errorf("%s: its text stands %d times in %s, not once", p.name, n, p.file)
		}
	}
}

// TestChaosFindsPlantedFaults proves that the harness can fail: it builds the
// product with a mistake and runs it against itself.
func TestChaosFindsPlantedFaults(t *testing.T) {
	if os.Getenv("OPSDB_PLANTS") != "all" {
		t.Skip("some minutes each: make chaos-plants")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range chaosPlants {
		t.Run(p.name, func(t *testing.T) {
			dir := t.TempDir()
			original := filepath.Join(root, filepath.FromSlash(p.file))
			source, err := os.ReadFile(original)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(source), p.old) != 1 {
				t.Fatalf("%q is not once in %s", p.old, p.file)
			}
			planted := filepath.Join(dir, "planted.go")
			if err := os.WriteFile(planted, []byte(strings.Replace(string(source), p.old, p.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: planted}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, "opsdb")
			if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("building: %v\n%s", err, out)
			}
			cmd := exec.Command(binary, "chaos", "--minutes", "1", "--round", "10s", "--gap", "700ms", "--faults", p.faults,
				"--history", filepath.Join(dir, "history.jsonl"), "--json")
			var progress strings.Builder
			cmd.Stderr = &progress
			out, err := cmd.Output()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("the run ended with %v, and not with a violation\n%s\n%s", err, &progress, out)
			}
			for _, evidence := range []string{"log/api_observatory_1.log", "redis/append*"} {
				if kept, err := filepath.Glob(filepath.Join(dir, "history.jsonl.evidence", evidence)); err != nil || len(kept) == 0 {
					t.Errorf("%s is not kept beside the history: %v", evidence, err)
				}
			}
			var report chaos.Report
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v\n%s\n%s", err, &progress, out)
			}
			for _, v := range report.Violations {
				for _, promise := range p.promises {
					if v.Promise == promise {
						t.Logf("found: %s", v)
						return
					}
				}
			}
			t.Errorf("found other things only: %v", report.Violations)
		})
	}
}
