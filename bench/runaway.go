package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/mysql/guard"
)

const (
	runawayRounds   = 10
	runawayDeadline = 500 * time.Millisecond
	runawayPatience = 30 * time.Second
)

// measureRunaway takes runaway_query_overrun_ms, how long a cross join that would run for hours lives beyond its deadline when nothing but the watchdog ends
// it, and cancelled_query_death_ms, how long it lives once the person who asked by way of reader, cluster proxy and shard proxy went away. Of both
// the worst of some rounds; alive is what the replica's own list of statements has.
func measureRunaway(ctx context.Context, b *bench) error {
	replica, err := b.firstReplica()
	if err != nil {
		return err
	}
	password := b.cluster.Passwords()
	watch, err := sqlx.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/", local.AccountMonitor, password[local.AccountMonitor], replica.Address))
	if err != nil {
		return err
	}
	defer watch.Close()
	r := &runaway{b: b, watch: watch, shard: replica.Shard, config: mysql.Config{
		ID: replica.ID, Address: replica.Address, User: string(local.AccountRead), Password: password[local.AccountRead], ReadOnly: true,
		StatementTimeout: time.Hour, // the server's own limit is out of the way
	}}
	overrun, err := r.worst(ctx, r.overrun)
	if err != nil {
		return err
	}
	b.results.add(figure{
		Name: "runaway_query_overrun_ms", Value: ms(overrun), Unit: "ms", Target: atLeast(500), AtMost: true,
		Note: fmt.Sprintf("worst of %d cross joins with a deadline of %v, ended by the watchdog alone", runawayRounds, runawayDeadline),
	})
	death, err := r.worst(ctx, r.death)
	if err != nil {
		return err
	}
	b.results.value("cancelled_query_death_ms", ms(death), "ms", fmt.Sprintf("worst of %d cross joins by POST /v1/sql, from when the caller went away", runawayRounds))
	return nil
}

type runaway struct {
	b      *bench
	watch  *sqlx.DB
	config mysql.Config
	shard  string
}

func (b *bench) firstReplica() (local.DescribedServer, error) {
	for _, d := range b.is.Databases {
		if d.Role == "replica" {
			return d, nil
		}
	}
	return local.DescribedServer{}, fmt.Errorf("%w: the cluster has no replica", errMeasure)
}

func (r *runaway) worst(ctx context.Context, once func(context.Context, string) (time.Duration, error)) (worst time.Duration, err error) {
	for n := range runawayRounds {
		took, err := once(ctx, fmt.Sprintf("runaway-%d-%d", n, time.Now().UnixNano()))
		if err != nil {
			return 0, err
		}
		worst = max(worst, took)
	}
	return worst, nil
}

// statement runs for hours, and holds a mark.
func (r *runaway) statement(mark string) string {
	return "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT COUNT(*), '" + mark + "' FROM n a JOIN n b JOIN n c JOIN n d WHERE a.i + b.i + c.i + d.i > 5"
}

// overrun runs a statement under a guard and returns how long it lived beyond its deadline.
func (r *runaway) overrun(ctx context.Context, mark string) (time.Duration, error) {
	watchdog := guard.New(guard.Config{Deadlines: map[guard.Class]time.Duration{guard.Analyst: runawayDeadline}})
	config := r.config
	config.Guard = watchdog
	db, err := mysql.Open(config)
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithTimeout(ctx, runawayPatience)
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return watchdog.Run(running) })
	ended := make(chan error, 1)
	go func() {
		ended <- db.Select(guard.WithClass(ctx, guard.Analyst), mysql.Selection{Text: r.statement(mark)}, noRows{})
	}()
	err = r.await(ctx, mark, true)
	deadline := time.Now().Add(runawayPatience)
	if list := watchdog.Running(); len(list) == 1 {
		deadline = list[0].Deadline
	}
	if err == nil {
		err = r.await(ctx, mark, false)
	}
	died := time.Now()
	if got := <-ended; err == nil && !errors.Is(got, mysql.ErrDeadline) {
		err = fmt.Errorf("%w: the cross join ended by itself: %v", errMeasure, got)
	}
	stop()
	return max(0, died.Sub(deadline)), errors.Join(err, group.Wait(), db.Close())
}

type noRows struct{}

func (noRows) Columns([]mysql.Column, int64) error { return nil }
func (noRows) Row([]sql.RawBytes) error            { return nil }

// death asks as a person does, goes away, and returns how long the statement lived on.
func (r *runaway) death(ctx context.Context, mark string) (time.Duration, error) {
	body, err := json.Marshal(map[string]string{"sql": r.statement(mark), "shard": r.shard})
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithTimeout(ctx, runawayPatience)
	defer stop()
	asking, goAway := context.WithCancel(ctx)
	defer goAway()
	request, err := http.NewRequestWithContext(asking, http.MethodPost, r.b.is.URLs["reader"]+"/v1/sql", strings.NewReader(string(body)))
	if err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() {
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			answer.Body.Close()
			err = fmt.Errorf("%w: the cross join was answered with status %d", errMeasure, answer.StatusCode)
		}
		ended <- err
	}()
	if err := r.await(ctx, mark, true); err != nil {
		return 0, err
	}
	left := time.Now()
	goAway()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		return 0, err
	}
	err = r.await(ctx, mark, false)
	return time.Since(left), err
}

// await waits until the replica runs a statement, or does not.
func (r *runaway) await(ctx context.Context, mark string, want bool) error {
	for {
		var n int
		err := r.watch.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO LIKE '%''"+mark+"''%'").Scan(&n)
		if err != nil {
			return fmt.Errorf("%w: look for %s: %w", errMeasure, mark, err)
		}
		if (n > 0) == want {
			return nil
		}
	}
}
