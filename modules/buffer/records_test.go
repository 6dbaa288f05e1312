package buffer

import (
	"testing"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
)

func TestABulkShowsAHundredRowsAndCountsAll(t *testing.T) {
	tx := &pending.Tx{ID: uuid.New(), Seq: 1, Changes: make([]pending.Change, 10_000)}
	shown, err := transactionOf("observatory", pending.View{}, tx, nil)
	if err != nil || len(shown.Rows) != 100 || shown.RowCount != 10_000 || *shown.Site != "observatory" {
		t.Errorf("%d rows of %d, %v", len(shown.Rows), shown.RowCount, err)
	}
}
