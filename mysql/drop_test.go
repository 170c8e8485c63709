package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// watched is a connection that tells of each statement before it sends it.
type watched struct {
	net.Conn
	before func(statement string)
}

func (w watched) Write(b []byte) (int, error) {
	w.before(string(b))
	return w.Conn.Write(b)
}

// INV-5: a reader whose plans don't last reads in one transaction. What turned cold and was dropped before its first statement is cold in its snapshot;
// after that, the drop waits for the reader, whose snapshot still needs the rows. On the primary and on the replica.
func TestDropBesideATransactionOfReads(t *testing.T) {
	for _, of := range []string{"primary", "replica"} {
		for _, keys := range []int{1, 2} {
			for _, first := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %d keys, before its first statement %t", of, keys, first), func(t *testing.T) {
					b := newBench(t, shared)
					read := shared.Primary
					if of == "replica" {
						read = shared.Replica
					}
					(&dropRun{bench: b, t: t, store: newColdStore(shared.Primary.Root()), read: read, first: first}).run(keys)
				})
			}
		}
	}
}

type dropRun struct {
	*bench
	t     *testing.T
	store *coldStore
	read  *testkit.Database
	first bool

	states  int // statements that read the state
	drops   sync.WaitGroup
	dropped error
}

func (d *dropRun) run(keys int) {
	at := time.Date(2025, 10, 5, 0, 5, 0, 0, time.UTC).Unix() / 60 // months before the watermarks
	d.apply(d.t, request(d.claim(d.t, 3), 1, 2, counted("a", at, 7), counted("b", at, 8)))
	if err := d.store.freeze("minute"); err != nil {
		d.t.Fatal(err)
	}
	shared.AwaitReplica(d.t)
	reader := pool(d.t, d.read, local.AccountRead, func(c *mysql.Config) {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			return watched{conn, d.before}, err
		}
	})
	r := &mysql.StatsRequest{Type: "view", From: at, To: at + 1, Step: mysql.StepMinute, MaxPoints: 10, MaxColdObjects: 10}
	for _, name := range []string{"a", "b"}[:keys] {
		r.Keys = append(r.Keys, mysql.StatsKey{Partition: 3, Name: name})
	}
	answer, err := reader.Stats(d.t.Context(), r)
	d.drops.Wait()
	if err := errors.Join(err, d.dropped); err != nil {
		d.t.Fatal(err)
	}
	if d.states != 5 || (len(answer.Cold) > 0) != d.first {
		d.t.Errorf("after %d statements got cold parts %+v", d.states, answer.Cold)
	}
	for i, k := range r.Keys {
		points, err := d.store.addTo(answer.Keys[i].Points, answer.Cold, k.Name, r)
		if err != nil || len(points) != 1 || points[0].Count != int64(7+i) {
			d.t.Errorf("key %s: got %+v, %v; want %d", k.Name, points, err, 7+i)
		}
	}
	if n := d.count(d.t, "SELECT COUNT(*) FROM quipu.minute_counts"); n != 0 {
		d.t.Errorf("%d rows are left, want none", n)
	}
}

// before lets no plan last, and drops the rows before a statement of the transaction.
func (d *dropRun) before(statement string) {
	if !strings.Contains(statement, "rollup_watermarks") {
		return
	}
	switch d.states++; {
	case d.states <= 3:
		d.exec(d.t, "UPDATE quipu.rollup_watermarks SET complete_before = IF(complete_before = '2025-11-20 10:00', '2025-11-20 09:00', '2025-11-20 10:00') WHERE resolution = 'hour'")
		shared.AwaitReplica(d.t)
	case d.states == 4 && d.first:
		d.drop()
		shared.AwaitReplica(d.t)
	case d.states == 5 && !d.first:
		d.drops.Go(d.drop)
		testkit.Eventually(d.t, 20*time.Second, func() error {
			var waiting int
			err := d.read.Root().QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock'").Scan(&waiting)
			if err == nil && waiting == 0 {
				err = errors.New("the drop does not wait")
			}
			return err
		})
	}
}

func (d *dropRun) drop() {
	d.dropped = errors.Join(d.store.commitFrozen("minute", 1), d.store.drop("minute"))
}
