package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes puts a child into a process group of its own, out of reach
// of the terminal's Ctrl-C, and lets it die with this process.
func childAttributes(deathSignal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: deathSignal}
}

// livingIn returns the postgres processes whose working directory is dir: a
// postmaster's children are found by nothing else once it is gone, since each
// has a session of its own. Somebody's shell in that folder is not among them.
func livingIn(dir string) []int {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd"))
		if err != nil || cwd != real {
			continue
		}
		program, err := os.Readlink(filepath.Join("/proc", entry.Name(), "exe"))
		if err == nil && strings.HasPrefix(filepath.Base(program), "postgres") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// removeSharedMemory removes a System V segment that a killed postmaster left.
func removeSharedMemory(id int) {
	if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil {
		return // It is gone already.
	}
}
