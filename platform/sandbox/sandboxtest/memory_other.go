//go:build !linux

package sandboxtest

// memoryDir is unknown here: the usual temporary folder has to do.
func memoryDir() string { return "" }
