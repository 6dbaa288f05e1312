// Package sandbox runs the two sites on one machine: a PostgreSQL primary
// ("cologne"), its streaming replica and a Redis ("observatory"), and between
// them a long link that can be slowed, cut and turned into a black hole. Every
// server is a real process under supervision; no container is needed.
//
// `opsdb demo` and the tests use it; tests through its package sandboxtest.
// Nothing else may import it.
package sandbox
