//go:build !linux

package embedded

import "os"

func fdatasync(f *os.File) error { return f.Sync() }

func reserve(*os.File, int64, int64) error { return nil }
