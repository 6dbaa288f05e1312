package buffer

import (
	"context"
	"time"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/txn"
)

// reap ends processors that are stuck in the middle of a flush: active, and
// waiting for their client. PostgreSQL's own time-outs do not end those, and a
// middlebox that still acknowledges for a client that is gone defeats TCP's.
func (m *Module) reap(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ended, err := db.New(m.config.Primary).EndStalledProcessors(bounded, db.EndStalledProcessorsParams{
		ApplicationNames: txn.ProcessorPrefix + "%", StalledS: m.config.Stalled.Seconds(),
	})
	if err != nil {
		if ctx.Err() == nil {
			m.log.WarnContext(ctx, "stalled processors cannot be looked for", "error", err)
		}
		return
	}
	for _, e := range ended {
		m.log.WarnContext(ctx, "ended a processor that was stuck in the middle of a flush", "processor", e.ApplicationName, "pid", e.Pid, "ended", e.Ended)
	}
}

// announce keeps main's own row among the sites.
func (m *Module) announce(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	now := m.config.Clock().UTC()
	err := db.New(m.config.Primary).EnsureSiteStatus(bounded, db.EnsureSiteStatusParams{Site: m.config.Site, LastSeenAt: &now, Version: m.config.Version})
	m.state.mainSeen(err == nil, err)
	if err != nil && ctx.Err() == nil {
		m.log.WarnContext(ctx, "main's own row cannot be written", "error", err)
	}
}

// lookAtMain finds out whether the primary can be reached from a process that
// does not drain; the one that does knows it from its own connection.
func (m *Module) lookAtMain(ctx context.Context) {
	if m.state.report().Status != statusStandby || m.config.Clock().Sub(m.looked) < heartbeatEvery {
		return
	}
	m.looked = m.config.Clock()
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := m.config.Primary.Ping(bounded)
	if ctx.Err() == nil {
		m.state.mainSeen(err == nil, err)
	}
}
