package mysql

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/quipudb/quipu/internal/wait"
)

const (
	gapPatience   = 256 * time.Millisecond // some flushes long
	gapPause      = 5 * time.Millisecond
	gapMostMisses = 5
)

// gaps are instants without an Apply under way. They are looked for in vain where writers flush all the time; so the more often in a row there was
// none, the shorter is the next look. Safe for concurrent use.
type gaps struct{ misses atomic.Int32 }

// await locks a watermark in an instant in which no Apply shares it, if there is one soon. Whoever waits for that lock holds up every Apply that comes
// later, for as long as the slowest of those under way takes; so the lock is first asked for without waiting. It may be left to the caller to wait.
func (g *gaps) await(ctx context.Context, t *transaction, of resolution) error {
	misses := g.misses.Load()
	for end := time.Now().Add(gapPatience >> misses); time.Now().Before(end); {
		var name string
		row := t.conn.QueryRowxContext(ctx, "SELECT resolution FROM rollup_watermarks WHERE resolution = ? FOR UPDATE NOWAIT", resolutionNames[of])
		err := row.Scan(&name)
		if e, ok := errors.AsType[*driver.MySQLError](err); !ok || e.Number != numLockWait && e.Number != numLockTaken {
			if err == nil {
				g.misses.Store(0)
			}
			return absent(err)
		}
		if err := wait.For(ctx, gapPause); err != nil {
			return meaning(err)
		}
	}
	g.misses.Store(min(misses+1, gapMostMisses))
	return nil
}
