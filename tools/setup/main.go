// Command setup installs the servers that the tests and the demo run, when they
// are missing: `make setup`.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/opsdb/opsdb/platform/sandbox"
)

func main() {
	if _, err := sandbox.Ensure(context.Background(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
