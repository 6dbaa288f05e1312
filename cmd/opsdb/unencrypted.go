package main

import (
	"net"
	"net/url"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/config"
)

// unencrypted names the settings by which a connection may leave this machine unencrypted: PostgreSQL with an sslmode that
// takes no for an answer (prefer is the default), Redis by redis://.
func unencrypted(c *config.Config) []string {
	var names []string
	for _, d := range []struct {
		name string
		url  string
	}{{"MAIN_DB", c.MainDB.URL}, {"LOCAL_DB", c.LocalDB.URL}} {
		if mayBeUnencrypted(d.url) {
			names = append(names, d.name)
		}
	}
	if u, err := url.Parse(c.Redis.URL); err == nil && u.Scheme == "redis" && !loopback(u.Hostname()) {
		names = append(names, "REDIS")
	}
	return names
}

// mayBeUnencrypted is about PostgreSQL. What cannot be parsed fails where it is connected to.
func mayBeUnencrypted(databaseURL string) bool {
	if databaseURL == "" {
		return false
	}
	parsed, err := pgconn.ParseConfig(databaseURL)
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
