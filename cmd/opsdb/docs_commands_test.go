package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tryIt is a block of a page that a reader is asked to try.
type tryIt struct{ page, commands string }

var tryItMark = regexp.MustCompile("(?ms)^\\*Try it\\*\n\n```bash\n(.*?)^```$")

// TestEveryTryItOfTheDocumentationWorks runs them in order on one demo. A line
// "# → text" says what must stand in the answers before it.
func TestEveryTryItOfTheDocumentationWorks(t *testing.T) {
	var blocks []tryIt
	err := filepath.WalkDir("../../docs", func(page string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(page) != ".md" {
			return err
		}
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		for _, m := range tryItMark.FindAllStringSubmatch(string(text), -1) {
			blocks = append(blocks, tryIt{page, m[1]})
		}
		if found, marks := len(tryItMark.FindAllString(string(text), -1)), strings.Count(string(text), "\n*Try it*\n"); found != marks {
			t.Errorf("%s: %d of %d blocks to try are no bash", page, marks-found, marks)
		}
		return nil
	})
	if err != nil || len(blocks) < 5 {
		t.Fatalf("%d blocks: %v", len(blocks), err)
	}
	d := startDemo(t, "--no-night", "--rtt", "20")
	ready := d.ready()
	d.wait(30*time.Second, "the commands", func() bool { return strings.Contains(d.out.String(), "# the observatory's API") })
	exports, _ := printedCommands(d.out.String())
	exports += "export ADMIN=" + ready.Admin + "\n"
	for _, b := range blocks {
		out, err := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", exports+b.commands).CombinedOutput()
		if err != nil {
			t.Errorf("%s\n%s%v: %s", b.page, b.commands, err, out)
			continue
		}
		rest := string(out)
		for line := range strings.Lines(b.commands) {
			want, ok := strings.CutPrefix(strings.TrimSpace(line), "# → ")
			if !ok {
				continue
			}
			_, after, there := strings.Cut(rest, want)
			if !there {
				t.Errorf("%s\n%sdoes not answer %s:\n%s", b.page, b.commands, want, out)
				break
			}
			rest = after
		}
	}
}
