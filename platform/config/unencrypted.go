package config

import (
	"net"
	"net/url"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgconn"
)

// Unencrypted names the settings by which a connection may leave this machine unencrypted: PostgreSQL with an sslmode that
// takes no for an answer (prefer is the default), Redis by redis://.
func (c *Config) Unencrypted() []string {
	var names []string
	for _, d := range []struct {
		name string
		db   Database
	}{{"MAIN_DB", c.MainDB}, {"LOCAL_DB", c.LocalDB}} {
		if d.db.unencrypted() {
			names = append(names, d.name)
		}
	}
	if u, err := url.Parse(c.Redis.URL); err == nil && u.Scheme == "redis" && !loopback(u.Hostname()) {
		names = append(names, "REDIS")
	}
	return names
}

func (d Database) unencrypted() bool {
	if d.URL == "" {
		return false
	}
	// What cannot be parsed fails where it is connected to.
	parsed, err := pgconn.ParseConfig(d.URL)
	if err != nil {
		return false
	}
	if parsed.TLSConfig == nil && !loopback(parsed.Host) {
		return true
	}
	for _, other := range parsed.Fallbacks {
		if other.TLSConfig == nil && !loopback(other.Host) {
			return true
		}
	}
	return false
}

// loopback tells whether a host is this machine: a loopback address, localhost or a folder of sockets.
func loopback(host string) bool {
	return host == "localhost" || host == "" || filepath.IsAbs(host) || net.ParseIP(host).IsLoopback()
}
