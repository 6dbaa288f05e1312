//go:build !linux

package sandbox

import "syscall"

// childAttributes puts a child into a process group of its own, out of reach
// of the terminal's Ctrl-C. Only Linux lets a child die with its parent.
func childAttributes(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// livingIn finds nothing here: a postmaster that starts too early refuses, and
// is tried again.
func livingIn(string) []int { return nil }

// removeSharedMemory leaves the segment to the system.
func removeSharedMemory(int) {}
