package sandboxtest

import "golang.org/x/sys/unix"

// memoryDir is a file system in memory with room for a stack, if there is one:
// cloning a database means making hundreds of files, which takes a third of
// the time there.
func memoryDir() string {
	const dir, room = "/dev/shm", 4 << 30
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < room || unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	return dir
}
