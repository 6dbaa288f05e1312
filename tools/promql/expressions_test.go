// Package promql_test reads every expression of deploy/ with Prometheus' own parser, and
// evaluates the rules over samples with its engine. It is a module of its own: Prometheus
// is no dependency of the product.
package promql_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRulesCanBeEvaluated(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(read(t, "prometheus/alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			e, err := parser.ParseExpr(r.Expr)
			if err != nil {
				t.Errorf("%s%s: %v", r.Record, r.Alert, err)
				continue
			}
			if e.Type() != parser.ValueTypeVector {
				t.Errorf("%s%s is a %s, a rule needs a vector", r.Record, r.Alert, e.Type())
			}
		}
	}
	if n < 20 {
		t.Errorf("there are %d rules only", n)
	}
}

func TestPanelsCanBeEvaluated(t *testing.T) {
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "grafana/opsdb.json"), &board); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			n++
			expr := strings.NewReplacer("$__rate_interval", "1m", "$__interval", "1m", "$__range", "1h").Replace(target.Expr)
			if _, err := parser.ParseExpr(expr); err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
		}
	}
	if n < 15 {
		t.Errorf("there are %d expressions only", n)
	}
}

// TestWrongExpressionsAreFound: balanced brackets are not enough.
func TestWrongExpressionsAreFound(t *testing.T) {
	for _, expr := range []string{"sum by site (up)", "rate(up)", "up > > 1", "max(up[5m])", `up{job=~"("}`} {
		if _, err := parser.ParseExpr(expr); err == nil {
			t.Errorf("nothing is wrong with %s", expr)
		}
	}
}
