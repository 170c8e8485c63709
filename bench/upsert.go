package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/load/zipf"
)

// upsertStatement counts one event where the figure of the ingest load counts thousands: in a table of the same form, in the same servers.
const upsertStatement = `INSERT INTO bench_upserts (key_id, event_type_id, start, event_count, value_count, value_sum, value_min, value_max)
VALUES (?, 1, ?, 1, 1, ?, ?, ?)
ON DUPLICATE KEY UPDATE event_count = event_count + 1, value_count = value_count + 1, value_sum = value_sum + VALUES(value_sum),
value_min = LEAST(value_min, VALUES(value_min)), value_max = GREATEST(value_max, VALUES(value_max))`

// measureUpsert takes ingest_vs_upsert_per_event_ratio: how many times more events a second the whole path counts than the same MariaDB
// servers, replicas attached, count by one prepared, autocommitted upsert an event. Keys and values are drawn as for the ingest load, and
// the best of 1 to 64 connections to every primary counts.
func measureUpsert(ctx context.Context, b *bench) error {
	var primaries []*sql.DB
	for _, d := range b.is.Databases {
		if d.Role != "primary" {
			continue
		}
		db, err := openRoot(d.Socket)
		if err != nil {
			return err
		}
		defer db.Close()
		if _, err := db.ExecContext(ctx, "CREATE TABLE bench_upserts LIKE minute_counts"); err != nil {
			return fmt.Errorf("make table: %w", err)
		}
		primaries = append(primaries, db)
	}
	best, bestConnections := 0.0, 0
	for _, connections := range either(b, []int{1, 2, 4, 8, 16, 32, 64}, []int{4, 16, 64}) {
		rate, err := upserts(ctx, primaries, connections, either(b, 2*time.Second, time.Second))
		if err != nil {
			return err
		}
		b.say("upserts over %d connections to each primary: %.0f a second", connections, rate)
		if rate > best {
			best, bestConnections = rate, connections
		}
	}
	for _, db := range primaries {
		if _, err := db.ExecContext(ctx, "DROP TABLE bench_upserts"); err != nil {
			return fmt.Errorf("drop table: %w", err)
		}
	}
	b.results.value("upsert_per_event_per_second", best, "events/s", fmt.Sprintf("prepared, autocommitted, over %d connections to each of %d primaries", bestConnections, len(primaries)))
	if b.ingested > 0 {
		b.results.add(figure{Name: "ingest_vs_upsert_per_event_ratio", Value: b.ingested / best, Unit: "times", Target: atLeast(100)})
	}
	return nil
}

func openRoot(socket string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.DBName = "root", "unix", socket, "quipu"
	cfg.MultiStatements = false
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// upserts returns the upserts a second over so many connections to each server.
func upserts(ctx context.Context, servers []*sql.DB, connections int, length time.Duration) (float64, error) {
	table, err := zipf.New(1_000_000, exponent)
	if err != nil {
		return 0, err
	}
	var done atomic.Int64
	bounded, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	group, bounded := errgroup.WithContext(bounded)
	begin := time.Now()
	for s, db := range servers {
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		for c := range connections {
			random := rand.New(rand.NewPCG(uint64(s), uint64(c)))
			group.Go(func() error { return upsertUntil(bounded, db, table, random, &done) })
		}
	}
	err = group.Wait()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return float64(done.Load()) / time.Since(begin).Seconds(), err
}

func upsertUntil(ctx context.Context, db *sql.DB, table *zipf.Table, random *rand.Rand, done *atomic.Int64) error {
	// Statements run without the context: one that is cancelled leaves a broken connection, and none takes long.
	statement, err := db.Prepare(upsertStatement)
	if err != nil {
		return fmt.Errorf("prepare upsert: %w", err)
	}
	defer statement.Close()
	for ctx.Err() == nil {
		value := random.IntN(maxValue + 1)
		minute := time.Now().UTC().Truncate(time.Minute)
		_, err := statement.Exec(table.Rank(random.Uint64()), minute.Format(time.DateTime), value, value, value)
		if deadlock, ok := errors.AsType[*mysql.MySQLError](err); ok && deadlock.Number == 1213 {
			continue
		}
		if err != nil {
			return fmt.Errorf("upsert: %w", err)
		}
		done.Add(1)
	}
	return nil
}
