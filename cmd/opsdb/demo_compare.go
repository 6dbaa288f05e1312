package main

import (
	"context"
	"fmt"
	"reflect"
	"sort"

	"github.com/jackc/pgx/v5"
)

// comparedTables are those that a night writes, with the key of a row.
var comparedTables = []struct{ name, key string }{
	{"executed_obs_unit", "id::text"},
	{"executed_obs_unit_module", "executed_obs_unit_id::text || ' ' || instrument_module_configuration_id"},
	{"raw_data_file", "id::text"},
	{"raw_data_package", "id::text"},
	{"raw_data_package_metadata", "raw_data_package_id::text"},
	{"physical_copy", "id::text"},
	{"applied_transaction", "id::text"},
}

// compare proves that both sites have the same: row by row in their databases,
// and for what was acknowledged at the observatory also as their APIs show it.
func (n *night) compare(ctx context.Context) error {
	if err := n.demo.stack.WaitForReplay(ctx); err != nil {
		return err
	}
	total := 0
	for _, table := range comparedTables {
		query := fmt.Sprintf("SELECT %s, to_jsonb(t)::text FROM %s t", table.key, table.name)
		atMain, err := rows(ctx, n.demo.stack.Primary.URL(demoDatabase), query)
		if err != nil {
			return err
		}
		atObservatory, err := rows(ctx, n.demo.stack.Replica.URL(demoDatabase), query)
		if err != nil {
			return err
		}
		if different := differences(atMain, atObservatory); len(different) > 0 {
			return fmt.Errorf("%s differs between the sites in %d rows: %v", table.name, len(different), different[:min(5, len(different))])
		}
		total += len(atMain)
	}
	for _, id := range n.transactions {
		if err := n.appliedOnce(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range n.executions {
		if err := n.sameRecord(ctx, "/executed_obs_units/"+id); err != nil {
			return err
		}
	}
	here, err := n.count(ctx, n.observatory)
	if err != nil {
		return err
	}
	there, err := n.count(ctx, n.main)
	if err != nil {
		return err
	}
	if here != there {
		return fmt.Errorf("%s shows %d scans of the night, %s %d", observatorySite, here, mainSite, there)
	}
	n.demo.say("  ✓ both sites are equal, row by row: %d rows in %d tables; all %d transactions applied once", total, len(comparedTables), len(n.transactions))
	n.demo.say("  ✓ both show %d scans of the night, and the %d played here read the same at both", there, len(n.executions))
	return nil
}

// appliedOnce looks a transaction up in the main site's ledger.
func (n *night) appliedOnce(ctx context.Context, id string) error {
	count, err := n.demo.stack.Primary.Text(ctx, demoDatabase,
		"SELECT count(*)::text FROM applied_transaction WHERE id = $1::uuid AND outcome = 'applied'", id)
	if err == nil && count != "1" {
		err = fmt.Errorf("transaction %s is %s times in the ledger", id, count)
	}
	return err
}

// sameRecord compares what both sites answer, except for how far a change has
// come: that is each site's own.
func (n *night) sameRecord(ctx context.Context, path string) error {
	var here, there map[string]any
	if err := n.observatory.get(ctx, path, &here); err != nil {
		return err
	}
	if err := n.main.get(ctx, path, &there); err != nil {
		return err
	}
	withoutSync(here)
	withoutSync(there)
	if !reflect.DeepEqual(here, there) {
		return fmt.Errorf("%s reads differently at the sites:\n%s: %v\n%s: %v", path, observatorySite, here, mainSite, there)
	}
	return nil
}

func withoutSync(value any) {
	switch v := value.(type) {
	case map[string]any:
		delete(v, "sync")
		for _, inner := range v {
			withoutSync(inner)
		}
	case []any:
		for _, inner := range v {
			withoutSync(inner)
		}
	}
}

// rows reads a query of key and row.
func rows(ctx context.Context, url, query string) (map[string]string, error) {
	found := map[string]string{}
	err := withPrimary(ctx, url, func(conn *pgx.Conn) error {
		result, err := conn.Query(ctx, query)
		if err != nil {
			return err
		}
		var key, row string
		_, err = pgx.ForEachRow(result, []any{&key, &row}, func() error {
			found[key] = row
			return nil
		})
		return err
	})
	return found, err
}

// differences are the keys of rows that are not the same in both.
func differences(a, b map[string]string) []string {
	var keys []string
	for key, row := range a {
		if other, ok := b[key]; !ok || other != row {
			keys = append(keys, key)
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys
}
