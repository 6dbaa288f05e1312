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
	if u, err := url.Parse(c.Redis.URL); err == nil && u.Scheme == "redis" && !local(u.Hostname()) {
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
	if parsed.TLSConfig == nil && !local(parsed.Host) {
		return true
	}
	for _, other := range parsed.Fallbacks {
		if other.TLSConfig == nil && !local(other.Host) {
			return true
		}
	}
	return false
}

// local tells whether a connection to a host stays on this machine: none and a folder are sockets of PostgreSQL.
func local(host string) bool { return host == "" || filepath.IsAbs(host) || loopback(host) }

// loopback tells whether a host is localhost or a loopback address.
func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }
