package buffer

import (
	"context"
	"time"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
)

// lookAtRedis asks the site's Redis now and then how it is, for the metrics, and whether it
// still keeps what it answers: somebody may change that under a running server.
func (m *Module) lookAtRedis(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	server, fsync, err := m.config.Store.Server(bounded)
	if err != nil {
		m.log.DebugContext(ctx, "the site's Redis cannot be asked how it is", "error", err)
		return // that it is away is known from the store's own exchanges
	}
	if err := m.config.Store.CheckDurability(bounded); err != nil {
		m.log.DebugContext(ctx, "the site's Redis is not durable, or cannot be asked", "error", err)
	}
	m.figures.mu.Lock()
	defer m.figures.mu.Unlock()
	m.figures.redis, m.figures.fsync = server, fsync
}

// lookAtSites reads at main how the other sites were last seen, for the metrics.
func (m *Module) lookAtSites(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	sites, err := db.New(m.config.Primary).ListSiteStatus(bounded)
	if err != nil {
		m.log.DebugContext(ctx, "the sites' rows cannot be read", "error", err)
		return // announce says so louder
	}
	m.figures.mu.Lock()
	defer m.figures.mu.Unlock()
	m.figures.sites = sites
}
