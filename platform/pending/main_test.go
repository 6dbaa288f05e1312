package pending

import (
	"testing"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.MainLeakless(m) }
