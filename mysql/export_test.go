package mysql

import "github.com/quipudb/quipu/mysql/guard"

// KillerOf returns what kills the statements of a pool.
func KillerOf(d *DB) guard.Killer { return d.killer }
