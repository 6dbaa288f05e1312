package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"time"
)

// profileSockets is the environment variable that names the folder in which a server
// under `bench serve` listens for those who want its profiles.
const profileSockets = "BENCH_PROFILE_SOCKETS"

// socketOf is where the server at an address gives its profiles.
func socketOf(folder, addr string) string {
	_, port, _ := strings.Cut(addr, ":")
	return filepath.Join(folder, port+".sock")
}

// ServeProfiles gives this process's profiles on a socket until ctx ends: `opsdb bench
// serve` is `opsdb serve` beside it. POST /cpu begins a CPU profile, GET /cpu ends it
// and answers it, GET /allocs answers what has been allocated since the start.
func ServeProfiles(ctx context.Context) error {
	listener, err := net.Listen("unix", socketOf(os.Getenv(profileSockets), os.Getenv("HTTP_ADDR")))
	if err != nil {
		return err
	}
	var cpu bytes.Buffer
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cpu", func(w http.ResponseWriter, _ *http.Request) {
		cpu.Reset()
		if err := pprof.StartCPUProfile(&cpu); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("GET /cpu", func(w http.ResponseWriter, _ *http.Request) {
		pprof.StopCPUProfile()
		if _, err := w.Write(cpu.Bytes()); err != nil {
			return // the client is gone
		}
	})
	mux.HandleFunc("GET /allocs", func(w http.ResponseWriter, _ *http.Request) {
		if err := pprof.Lookup("allocs").WriteTo(w, 0); err != nil {
			return // the client is gone
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { err = errors.Join(err, server.Close()) })
	defer stop()
	if served := server.Serve(listener); !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return err
}

// serveArgs are how a server is started whose profiles may be wanted.
func (o Options) serveArgs() []string {
	if o.Profiles == "" {
		return []string{"serve"}
	}
	return []string{"bench", "serve"}
}

// Sockets is the environment of such a server, nil when nobody wants profiles.
func (o Options) Sockets() []string {
	if o.Profiles == "" {
		return nil
	}
	return []string{profileSockets + "=" + o.SocketFolder}
}

// profiled does something to the server at url and keeps the server's profiles as
// <name>.cpu.pprof and <name>.allocs.pprof when they are wanted. Profiling costs a
// little: figures of such a run are for comparing.
func (b *bench) profiled(ctx context.Context, name, url string, do func() error) error {
	if b.Profiles == "" {
		return do()
	}
	socket := socketOf(b.SocketFolder, strings.TrimPrefix(url, "http://"))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	ask := func(method, path string) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, method, "http://profiles"+path, nil)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return nil, err
		}
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s %s: %s %s", method, path, response.Status, content)
		}
		return content, nil
	}
	if _, err := ask(http.MethodPost, "/cpu"); err != nil {
		return fmt.Errorf("beginning a profile: %w", err)
	}
	if err := do(); err != nil {
		return err
	}
	for _, kind := range []string{"cpu", "allocs"} {
		content, err := ask(http.MethodGet, "/"+kind)
		if err == nil {
			err = os.WriteFile(filepath.Join(b.Profiles, name+"."+kind+".pprof"), content, 0o644)
		}
		if err != nil {
			return fmt.Errorf("keeping a profile: %w", err)
		}
	}
	return nil
}
