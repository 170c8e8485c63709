package mysql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/quipudb/quipu/internal/wait"
)

// How far time partitions reach ahead of now, and how the waits for making them are bounded.
const (
	minutesAhead      = 48 * time.Hour
	hoursAhead        = 93 * 24 * time.Hour
	daysAhead         = 2 * 366 * 24 * time.Hour
	partitionLock     = "CONCAT('quipu_time_partitions.', DATABASE())"
	partitionPatience = 10 * time.Second // for another one who makes them, and for the table
	partitionPause    = 100 * time.Millisecond
	partitionsAtOnce  = 32 // each is a file: what a slow disk has no time for in one statement comes about in several
)

// timeRanges remembers where the time partitions of each table end, so that Apply need not ask.
type timeRanges struct {
	mu   sync.Mutex
	ends map[string]int64 // minute, exclusive, by table
}

// cover tells whether every table is known to have a partition for a minute.
func (t *timeRanges) cover(minute int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, table := range countsTables() {
		if end, known := t.ends[table.table]; !known || minute >= end {
			return false
		}
	}
	return true
}

func (t *timeRanges) set(table string, end int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends == nil {
		t.ends = map[string]int64{}
	}
	t.ends[table] = end
}

// forget is called when the database contradicts what is remembered.
func (t *timeRanges) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ends = nil
}

func countsTables() []resolution { return []resolution{perMinute, perHour, perDay} }

// ensureTimePartitions makes time partitions on demand, before the transaction that needs them: the making waits for every
// transaction that has touched the table.
func (p *Primary) ensureTimePartitions(ctx context.Context, last int64) error {
	if p.ranges.cover(last) {
		return nil
	}
	_, err := p.makeTimePartitions(ctx, last)
	return err
}

// MakeTimePartitions makes the time partitions that are needed soon and returns how many it made. Several processes may call it.
func (p *Primary) MakeTimePartitions(ctx context.Context) (int, error) {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	p.ranges.forget() // somebody else may have changed them
	return p.makeTimePartitions(ctx, 0)
}

func (p *Primary) makeTimePartitions(ctx context.Context, last int64) (made int, err error) {
	err = p.withTimePartitions(ctx, func(conn *sqlx.Conn) error {
		for _, table := range countsTables() {
			n, err := p.extend(ctx, conn, table, last)
			made += n
			if err != nil {
				return fmt.Errorf("make time partitions of %s: %w", table.table, err)
			}
		}
		return nil
	})
	if made > 0 {
		p.metrics.timePartitions.Add(float64(made))
		p.log.Info("made time partitions", "database", p.db.cfg.ID, "partitions", made)
	}
	return made, err
}

// withTimePartitions runs work on a connection that alone may make and drop time partitions.
func (p *Primary) withTimePartitions(ctx context.Context, work func(*sqlx.Conn) error) error {
	conn, err := p.db.sql.Connx(ctx)
	if err != nil {
		return fmt.Errorf("lock time partitions: %w", meaning(err))
	}
	defer conn.Close()
	// The connection's lock and settings end with it.
	defer discard(conn)
	var locked int
	if err := conn.GetContext(ctx, &locked, "SELECT COALESCE(GET_LOCK("+partitionLock+", ?), 0)", wholeSeconds(partitionPatience)); err != nil {
		return fmt.Errorf("lock time partitions: %w", meaning(err))
	}
	if locked != 1 {
		return fmt.Errorf("lock time partitions: %w: another one holds the lock", ErrUnavailable)
	}
	return work(conn)
}

// extend adds what a table lacks, and returns how many it added, also when it fails before the end.
func (p *Primary) extend(ctx context.Context, conn *sqlx.Conn, table resolution, last int64) (int, error) {
	end, count, err := readTimePartitions(ctx, conn, table.table)
	if err != nil {
		return 0, err
	}
	wanted, made := planTimePartitions(table, end, count, p.cfg.Now(), last), 0
	for some := range slices.Chunk(wanted, partitionsAtOnce) {
		if err := alterPatiently(ctx, conn, addPartitions(table.table, some)); err != nil {
			return made, err
		}
		made += len(some)
		end = some[len(some)-1].end
	}
	p.ranges.set(table.table, end)
	return made, nil
}

func addPartitions(table string, wanted []timePartition) string {
	var text strings.Builder
	fmt.Fprintf(&text, "ALTER TABLE %s ADD PARTITION (", table)
	for i, w := range wanted {
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "PARTITION %s VALUES LESS THAN (%s)", w.name, appendTime(nil, w.end))
	}
	text.WriteString(")")
	return text.String()
}

// alterPatiently waits for a table in short turns: whoever waits for it queues all writes behind himself.
func alterPatiently(ctx context.Context, conn *sqlx.Conn, alter string) error {
	ctx, cancel := context.WithTimeout(ctx, partitionPatience)
	defer cancel()
	if _, err := conn.ExecContext(ctx, "SET SESSION lock_wait_timeout = 1"); err != nil {
		return meaning(err)
	}
	for {
		_, err := conn.ExecContext(ctx, alter)
		if err = meaning(err); !errors.Is(err, errRetry) {
			return err
		}
		if wait.For(ctx, partitionPause/2+rand.N(partitionPause)) != nil {
			return fmt.Errorf("%w: the table is in use: %w", ErrUnavailable, err)
		}
	}
}

// readTimePartitions returns where the last time partition of a table ends, and how many there are.
func readTimePartitions(ctx context.Context, conn *sqlx.Conn, table string) (end int64, count int, err error) {
	// PARTITION_DESCRIPTION is the bound as a literal with its quotes.
	err = conn.QueryRowContext(ctx, "SELECT COALESCE(MAX("+inMinutes("CAST(REPLACE(partition_description, '''', '') AS DATETIME)")+`), -1), COUNT(partition_name)
FROM information_schema.partitions WHERE table_schema = DATABASE() AND table_name = ?`, table).Scan(&end, &count)
	if err != nil {
		return 0, 0, fmt.Errorf("read time partitions: %w", meaning(err))
	}
	if count == 0 {
		return 0, 0, fmt.Errorf("read time partitions of %s: there are none: %w", table, ErrSchema)
	}
	return end, count, nil
}
