package auth

import "github.com/opsdb/opsdb/platform/txn"

// DirectSteps returns one value of each step that is carried out on the primary alone,
// for the catalog of a Direct writer.
func DirectSteps() []txn.Step { return loginSteps() }
