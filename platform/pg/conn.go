package pg

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

// userTimeout is how long sent bytes may stay unacknowledged before the kernel
// gives the connection up, on both ends of the long link.
const userTimeout = 15 * time.Second

// ProcessorParams returns the run-time parameters of a processor's connection.
//
// A flush that a black hole swallowed is active and waiting for its client at
// the primary, which neither idle nor statement time-outs end: its row locks
// would stay for as long as TCP waits. tcp_user_timeout and the keepalives end
// it from the server's side, client_connection_check_interval while it waits for
// a row.
func ProcessorParams() map[string]string {
	return map[string]string{
		"tcp_user_timeout":                    "15s",
		"tcp_keepalives_idle":                 "5",
		"tcp_keepalives_interval":             "2",
		"tcp_keepalives_count":                "3",
		"client_connection_check_interval":    "2s",
		"lock_timeout":                        "5s",
		"idle_in_transaction_session_timeout": "15s",
		"synchronous_commit":                  "on",
	}
}

// Connect opens one connection outside any pool, with params as its run-time
// parameters and TCP_USER_TIMEOUT on its socket; it takes 5 s at most. Enum
// arrays are not registered: that would cost a round trip. The caller closes it,
// with Abandon when its outcome is unknown.
func Connect(ctx context.Context, url, applicationName string, params map[string]string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	prepare(config, applicationName, params)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	RegisterCodecs(conn.TypeMap())
	return conn, nil
}

// Abandon drops a connection whose outcome is unknown: the socket is reset, so
// the kernel sends nothing of what it still holds. Closed the polite way, pgx
// waits for up to 15 s in the background while the kernel goes on sending, and a
// flush given up here could still arrive.
func Abandon(conn *pgx.Conn) {
	raw := conn.PgConn().Conn()
	// Past TLS, whose own Close would still send an alert.
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	// An error here means that the socket is closed already: then there is
	// nothing left to send either.
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	raw.Close()
	// The socket is closed, so this only puts pgx's own state in order.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx)
}

// dialer returns a dialer whose connections notice a peer that is gone within
// about 15 s, whether they are sending or idle.
func dialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         connectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control:         limitUnacknowledged,
	}
}
