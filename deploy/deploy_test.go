// Package deploy_test holds the files that a site is run with against the product:
// rules and dashboard name only metrics and labels that there are (docs/metrics.md,
// which a test compares with two running sites), and each alert has its runbook.
package deploy_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// always are labels that no metric need have: Prometheus and the process add them.
var always = []string{"site", "instance", "job", "le"}

type metric struct {
	kind   string
	labels []string
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metrics are those of docs/metrics.md.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	found := map[string]metric{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(opsdb_\\w+)` \\| (\\w+) \\| ([^|]+) \\|").FindAllStringSubmatch(read(t, "../docs/metrics.md"), -1) {
		m := metric{kind: row[2]}
		if row[3] != "–" {
			m.labels = strings.Split(row[3], ", ")
		}
		found[row[1]] = m
	}
	if len(found) < 30 {
		t.Fatalf("docs/metrics.md names %d metrics only", len(found))
	}
	return found
}

var (
	series   = regexp.MustCompile(`(opsdb[:_][\w:]+)(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|ignoring)\s*\(([^)]*)\)`)
)

// check says what is wrong with the names in one expression.
func check(expr string, known map[string]metric, records map[string]bool) (wrong []string) {
	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
		wrong = append(wrong, "its brackets do not match")
	}
	labels := slices.Clone(always)
	for _, m := range series.FindAllStringSubmatch(expr, -1) {
		name := m[1]
		if strings.Contains(name, ":") {
			if !records[name] {
				wrong = append(wrong, "there is no record "+name)
			}
			continue
		}
		found, ok := known[name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); !ok && cut {
				if found, ok = known[base]; ok && found.kind != "histogram" {
					ok = false
				}
			}
		}
		if !ok {
			wrong = append(wrong, "there is no metric "+name)
			continue
		}
		labels = append(labels, found.labels...)
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(append(slices.Clone(always), found.labels...), l[1]) {
				wrong = append(wrong, name+" has no label "+l[1])
			}
		}
		if found.kind == "counter" && !regexp.MustCompile(`(?:rate|increase)\(`+name).MatchString(expr) {
			wrong = append(wrong, name+" is a counter and needs rate or increase")
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(label)) {
				wrong = append(wrong, "it groups by "+label+", which none of its metrics has")
			}
		}
	}
	return wrong
}

type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Record, Alert, Expr string
			For                 string
			Labels, Annotations map[string]string
		}
	}
}

func alerts(t *testing.T) (rules, map[string]bool) {
	t.Helper()
	var r rules
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "prometheus/alerts.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	records := map[string]bool{}
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			if rule.Record != "" {
				records[rule.Record] = true
			}
		}
	}
	return r, records
}

func TestRulesNameWhatThereIs(t *testing.T) {
	known := metrics(t)
	r, records := alerts(t)
	n := 0
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			n++
			for _, w := range check(rule.Expr, known, records) {
				t.Errorf("%s%s: %s", rule.Record, rule.Alert, w)
			}
		}
	}
	if n < 20 {
		t.Errorf("there are %d rules only", n)
	}
}

func TestEveryAlertHasItsRunbook(t *testing.T) {
	headings := map[string]bool{}
	page := read(t, "../docs/operations.md")
	for _, h := range regexp.MustCompile(`(?m)^#{2,3} (.+)$`).FindAllStringSubmatch(page, -1) {
		headings[strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(h[1], ",", "")), " ", "-")] = true
	}
	r, _ := alerts(t)
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			if rule.Alert == "" {
				continue
			}
			anchor, ok := strings.CutPrefix(rule.Annotations["runbook"], "docs/operations.md#")
			if !ok || !headings[anchor] {
				t.Errorf("%s: the runbook has no section %q", rule.Alert, rule.Annotations["runbook"])
			}
			if rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" {
				t.Errorf("%s has no summary or no severity", rule.Alert)
			}
			if !strings.Contains(page, "`"+rule.Alert+"`") {
				t.Errorf("docs/operations.md does not name %s", rule.Alert)
			}
		}
	}
}

func TestDashboardNamesWhatThereIs(t *testing.T) {
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/opsdb.json")), &board); err != nil {
		t.Fatal(err)
	}
	known := metrics(t)
	_, records := alerts(t)
	if len(board.Panels) < 15 {
		t.Errorf("there are %d panels only", len(board.Panels))
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, w := range check(target.Expr, known, records) {
				t.Errorf("%s: %s", p.Title, w)
			}
		}
	}
}

// TestWhatNeedsAnOperatorHasAnAlert: what a discarded one blocked stays
// blocked, while nothing is failed any more; a process that is gone and a slow way to main
// have an alert too.
func TestWhatNeedsAnOperatorHasAnAlert(t *testing.T) {
	r, _ := alerts(t)
	want := map[string]string{
		"OpsdbDeadLetters": `opsdb_buffer_transactions{state=~"failed|blocked"}`, "OpsdbProcessDown": `up{job=~"opsdb.*"} == 0`, "OpsdbReplicatingIsSlow": "opsdb:replicated:p99 >",
	}
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			if part, ok := want[rule.Alert]; ok && strings.Contains(rule.Expr, part) {
				delete(want, rule.Alert)
			}
		}
	}
	for name, part := range want {
		t.Errorf("no alert %s looks at %s", name, part)
	}
}

// TestRedisTellsItsFsyncs: the settings and the page that explains the metric say the same.
func TestRedisTellsItsFsyncs(t *testing.T) {
	setting := regexp.MustCompile(`(?m)^latency-monitor-threshold \d+$`).FindString(read(t, "redis/redis.conf"))
	if setting == "" || !strings.Contains(read(t, "../docs/metrics.md"), "`"+setting+"`") {
		t.Errorf("redis.conf sets %q, docs/metrics.md says something else", setting)
	}
}

// TestWrongExpressionsAreFound: the check itself can fail.
func TestWrongExpressionsAreFound(t *testing.T) {
	known := metrics(t)
	for _, expr := range []string{
		"opsdb_buffer_size", "opsdb_buffer_transactions{status=\"failed\"}", "opsdb:nothing", "sum by (table) (opsdb_buffer_paused)",
		"opsdb_lost_tail_transactions_total > 0", "max(opsdb_buffer_paused", "opsdb_buffer_paused_bucket",
	} {
		if len(check(expr, known, nil)) == 0 {
			t.Errorf("nothing is wrong with %s", expr)
		}
	}
}
