package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load"
)

const (
	day24         = 24 * time.Hour
	minutesPerDay = 24 * 60
	keysAtOnce    = 50 // of a bulk statement: 72,000 rows

	replicaPatience = 2 * time.Minute
)

// day is 24 hours of counts of a type, one row a minute for each of many keys.
type day struct {
	eventType string
	prefix    string    // of the keys
	from      time.Time // whole minute
	keys      int
	rows      int
}

func (d *day) key(n int) string { return fmt.Sprintf("%s-%d", d.prefix, n) }

// count is what each key has over the day: minute m counts 1 + m mod 7.
func (d *day) count() int64 {
	n := int64(0)
	for m := range minutesPerDay {
		n += 1 + int64(m%7)
	}
	return n
}

// lastDay is the day that ends ten minutes ago, filled once a run.
func (b *bench) lastDay(ctx context.Context) (*day, error) {
	if b.day != nil {
		return b.day, nil
	}
	d, err := b.fillDay(ctx, typeDay, "day", time.Now().UTC().Truncate(time.Minute).Add(-day24-10*time.Minute))
	b.day = d
	return d, err
}

// fillDay puts the rows of 24 hours into the tables of every server: the keys come about as always, by an event each, and then rows are made
// in place, in all three resolutions as Apply would have, outside of replication to halve the time.
func (b *bench) fillDay(ctx context.Context, eventType, prefix string, from time.Time) (*day, error) {
	rows := either(b, 10_000_000, 500_000)
	d := &day{eventType: eventType, prefix: prefix, from: from, keys: rows / minutesPerDay}
	d.rows = d.keys * minutesPerDay
	source, err := load.NewReplay(load.ReplayConfig{Run: b.run + prefix, Tally: true}, func(yield func(event.Event, error) bool) {
		for n := range d.keys {
			if !yield(event.Event{Type: eventType, Key: d.key(n), Value: 1, HasValue: true}, nil) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if err := b.settle(ctx, load.Config{}, source); err != nil {
		return nil, err
	}
	if err := b.awaitReplicas(ctx); err != nil {
		return nil, err
	}
	begin := time.Now()
	group, filling := errgroup.WithContext(ctx)
	for _, server := range b.is.Databases {
		group.Go(func() error {
			if err := d.fill(filling, server.Socket); err != nil {
				return fmt.Errorf("fill %s: %w", server.ID, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	b.say("put %d rows into the tables of each shard's servers in %.0f s", d.rows, time.Since(begin).Seconds())
	return d, nil
}

// awaitReplicas waits until every replica has what its primary had at the time of the call: the rows made in place need the keys' ids.
func (b *bench) awaitReplicas(ctx context.Context) error {
	positions := map[string]string{} // by shard
	for _, server := range b.is.Databases {
		if server.Role != string(cluster.Primary) {
			continue
		}
		var position string
		if err := askRoot(ctx, server.Socket, "SELECT @@GLOBAL.gtid_binlog_pos", &position); err != nil {
			return fmt.Errorf("ask %s where it is: %w", server.ID, err)
		}
		positions[server.Shard] = position
	}
	for _, server := range b.is.Databases {
		if server.Role != string(cluster.Replica) {
			continue
		}
		var late int
		if err := askRoot(ctx, server.Socket, "SELECT MASTER_GTID_WAIT(?, ?)", &late, positions[server.Shard], replicaPatience.Seconds()); err != nil {
			return fmt.Errorf("await %s: %w", server.ID, err)
		}
		if late != 0 {
			return fmt.Errorf("%s is more than %s behind its primary", server.ID, replicaPatience)
		}
	}
	return nil
}

// askRoot asks a server for one value.
func askRoot(ctx context.Context, socket, question string, into any, args ...any) error {
	db, err := openRoot(socket)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.QueryRowContext(ctx, question, args...).Scan(into)
}

func (d *day) fill(ctx context.Context, socket string) error {
	db, err := openRoot(socket)
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SET sql_log_bin = 0, time_zone = '+00:00'"); err != nil {
		return err
	}
	var eventType, first, last sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT (SELECT id FROM event_types WHERE name = ?), MIN(id), MAX(id) FROM counted_keys WHERE name LIKE ?", d.eventType, d.prefix+"-%").
		Scan(&eventType, &first, &last); err != nil {
		return err
	}
	for id := first.Int64; id <= last.Int64; id += keysAtOnce {
		if err := d.fillKeys(ctx, conn, eventType.Int64, id, min(id+keysAtOnce-1, last.Int64)); err != nil {
			return err
		}
	}
	return nil
}

// fillKeys makes the minutes of some keys, and the hours and days before their watermarks.
func (d *day) fillKeys(ctx context.Context, conn *sql.Conn, eventType, first, last int64) error {
	from, to := d.from.Format(time.DateTime), d.from.Add(day24).Format(time.DateTime)
	if _, err := conn.ExecContext(ctx, `INSERT INTO minute_counts (key_id, event_type_id, start, event_count, value_count, value_sum, value_min, value_max)
		SELECT k.id, ?, ? + INTERVAL m.seq MINUTE, 1 + m.seq % 7, 1 + m.seq % 7, 3 * (1 + m.seq % 7), 3, 3
		FROM counted_keys k STRAIGHT_JOIN seq_0_to_1439 m WHERE k.id BETWEEN ? AND ? AND k.name LIKE ? ORDER BY k.id, m.seq`,
		eventType, from, first, last, d.prefix+"-%"); err != nil {
		return fmt.Errorf("make minutes: %w", err)
	}
	for resolution, start := range map[string]string{
		"hour": "DATE_FORMAT(m.start, '%Y-%m-%d %H:00:00')", "day": "DATE_FORMAT(m.start, '%Y-%m-%d 00:00:00')",
	} {
		if _, err := conn.ExecContext(ctx, `INSERT INTO `+resolution+`_counts (key_id, event_type_id, start, event_count, value_count, value_sum, value_min, value_max)
			SELECT m.key_id, m.event_type_id, `+start+` AS coarse, SUM(m.event_count), SUM(m.value_count), SUM(m.value_sum), MIN(m.value_min), MAX(m.value_max)
			FROM minute_counts m WHERE m.key_id BETWEEN ? AND ? AND m.event_type_id = ? AND m.start >= ? AND m.start < ?
			AND m.start < (SELECT complete_before FROM rollup_watermarks WHERE resolution = ?) GROUP BY m.key_id, m.event_type_id, coarse`,
			first, last, eventType, from, to, resolution); err != nil {
			return fmt.Errorf("make %ss: %w", resolution, err)
		}
	}
	return nil
}
