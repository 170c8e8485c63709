package mysql_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// fault breaks the connection at the next statement that starts with a word.
type fault struct {
	word      string
	delivered bool // the server gets the statement, only its reply is lost
	armed     atomic.Bool
	happened  atomic.Int32
}

func (f *fault) dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: conn, fault: f}, nil
}

type faultyConn struct {
	net.Conn
	fault *fault
	lost  atomic.Bool
}

func (c *faultyConn) Write(b []byte) (int, error) {
	// A command packet: 3 bytes of length, a sequence number, the command COM_QUERY, the text.
	if len(b) > 5 && b[4] == 3 && bytes.HasPrefix(b[5:], []byte(c.fault.word)) && c.fault.armed.CompareAndSwap(true, false) {
		c.fault.happened.Add(1)
		c.lost.Store(true)
		if !c.fault.delivered {
			return len(b), nil
		}
	}
	return c.Conn.Write(b)
}

func (c *faultyConn) Read(b []byte) (int, error) {
	if !c.lost.Load() {
		return c.Conn.Read(b)
	}
	if c.fault.delivered { // the reply has come, so the server is done
		_, _ = c.Conn.Read(b)
	}
	c.Conn.Close()
	return 0, io.ErrUnexpectedEOF
}

// INV-1, INV-4: after a COMMIT whose reply was lost the outcome is unknown, and sending the same request again is exact either way.
func TestLostReplyOfCommitThenRetryIsExact(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		t.Run(fmt.Sprintf("delivered=%t", delivered), func(t *testing.T) {
			b := newBench(t, shared)
			f := &fault{word: "COMMIT", delivered: delivered}
			b.primary = primaryOf(t, shared.Primary, func(c *mysql.Config) { c.Dial = f.dial })
			epoch := b.claim(t, 3)
			b.apply(t, request(epoch, 1, 2, counted("a", minute(12, 0), 1)))
			r := request(epoch, 2, 3, counted("a", minute(12, 0), 10), counted("a", minute(3, 0), 100))
			f.armed.Store(true)
			if err := b.primary.Apply(t.Context(), r); !errors.Is(err, mysql.ErrUnknownOutcome) {
				t.Fatalf("got %v, want %v", err, mysql.ErrUnknownOutcome)
			}
			err := b.primary.Apply(t.Context(), r)
			if delivered {
				if stored := refusedAs(t, err, mysql.ErrOffsetMoved); stored.NextOffset != r.Next || stored.Checksum != r.Checksum {
					t.Errorf("stored %+v does not show that the request was committed", stored)
				}
			} else if err != nil {
				t.Error(err)
			}
			if got := b.total(t, "a"); got != 111 {
				t.Errorf("got %d, want 111", got)
			}
			if f.happened.Load() != 1 {
				t.Errorf("the fault happened %d times", f.happened.Load())
			}
		})
	}
}

// A connection that breaks before COMMIT was sent is a certain failure, and holds no locks for long.
func TestConnectionLostWithinTheTransactionCommitsNothing(t *testing.T) {
	for _, word := range []string{"START TRANSACTION", "UPDATE checkpoints", "SELECT s.term", "INSERT INTO minute_counts", "INSERT INTO day_counts"} {
		t.Run(word, func(t *testing.T) {
			b := newBench(t, shared)
			f := &fault{word: word, delivered: true}
			b.primary = primaryOf(t, shared.Primary, func(c *mysql.Config) { c.Dial = f.dial })
			epoch := b.claim(t, 3)
			b.apply(t, request(epoch, 1, 2, counted("a", minute(12, 0), 1)))
			r := request(epoch, 2, 3, counted("a", minute(12, 0), 10), counted("a", minute(0, 0)-day, 100))
			f.armed.Store(true)
			if err := b.primary.Apply(t.Context(), r); !errors.Is(err, mysql.ErrUnavailable) || errors.Is(err, mysql.ErrUnknownOutcome) {
				t.Fatalf("got %v, want %v", err, mysql.ErrUnavailable)
			}
			b.apply(t, r)
			if got := b.total(t, "a"); got != 111 {
				t.Errorf("got %d, want 111", got)
			}
			if f.happened.Load() != 1 {
				t.Errorf("the fault happened %d times", f.happened.Load())
			}
		})
	}
}

// A heartbeat commits by itself: when its reply is lost it may have moved as-of.
func TestLostReplyOfHeartbeatIsUnknown(t *testing.T) {
	b := newBench(t, shared)
	f := &fault{word: "UPDATE checkpoints", delivered: true}
	b.primary = primaryOf(t, shared.Primary, func(c *mysql.Config) { c.Dial = f.dial })
	epoch := b.claim(t, 3)
	f.armed.Store(true)
	beat := request(epoch, 1, 1)
	if err := b.primary.Apply(t.Context(), beat); !errors.Is(err, mysql.ErrUnknownOutcome) {
		t.Errorf("got %v, want %v", err, mysql.ErrUnknownOutcome)
	}
	b.apply(t, beat)
}

// A call that is cancelled while it waits for a lock leaves nothing behind: no rows, and no lock that outlives it for long.
func TestCancelledApplyIsRolledBack(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("a", minute(12, 0), 1)))
	blocker, err := shared.Primary.Root().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Rollback()
	if _, err := blocker.Exec("SELECT * FROM quipu.minute_counts WHERE start > '2000-01-01' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	r := request(epoch, 2, 3, counted("a", minute(12, 0), 10))
	ctx, cancel := contextWithin(t, 200*time.Millisecond)
	defer cancel()
	if err := b.primary.Apply(ctx, r); err == nil || errors.Is(err, mysql.ErrUnknownOutcome) {
		t.Fatalf("got %v, want a certain failure", err)
	}
	if err := blocker.Rollback(); err != nil {
		t.Fatal(err)
	}
	b.apply(t, r)
	if got := b.total(t, "a"); got != 11 {
		t.Errorf("got %d, want 11", got)
	}
}

// INV-1: a primary that is killed while writers apply comes back with checkpoints that are the whole truth about the counts.
func TestPrimaryKilledWhileApplying(t *testing.T) {
	servers := &testkit.ShardServers{Primary: testkit.MariaDB(t)}
	b := newBench(t, servers)
	ctx, cancel := contextWithin(t, 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var applied [4]atomic.Uint64
	const target = 60
	for partition := range applied {
		epoch := b.claim(t, partition)
		wg.Go(func() { applyThrough(ctx, t, b, partition, epoch, target, &applied[partition]) })
	}
	for range 3 {
		before := applied[0].Load()
		testkit.Eventually(t, time.Minute, func() error {
			if now := applied[0].Load(); now < min(before+5, target) {
				return fmt.Errorf("partition 0 is at %d", now)
			}
			return nil
		})
		if err := servers.Primary.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := servers.Primary.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for partition := range applied {
		for _, key := range []string{"recent", "late"} {
			answer, err := b.read.Stats(ctx, &mysql.StatsRequest{Type: "view", Keys: []mysql.StatsKey{{Partition: partition, Name: key}}, To: event.MaxMinute + 1, MaxPoints: 1})
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.Keys[0].Points[0].Count; got != target {
				t.Errorf("partition %d, key %s: got %d, want %d", partition, key, got, target)
			}
		}
	}
}

// applyThrough applies one request after the other, each until it is known to be committed, as a writer does.
func applyThrough(ctx context.Context, t *testing.T, b *bench, partition int, epoch, target uint64, done *atomic.Uint64) {
	for next := uint64(2); next <= target+1 && ctx.Err() == nil; {
		r := request(epoch, next-1, next, counted("recent", minute(12, int(next)%60), 1), counted("late", minute(2, int(next)%60), 1))
		r.Partition = partition
		err := b.primary.Apply(ctx, r)
		var refused *mysql.CheckpointError
		committed := err == nil || (errors.As(err, &refused) && refused.Reason == mysql.ErrOffsetMoved && refused.Stored.NextOffset == next && refused.Stored.Checksum == r.Checksum)
		switch {
		case committed:
			done.Store(next - 1)
			next++
		case errors.Is(err, mysql.ErrUnavailable), errors.Is(err, mysql.ErrUnknownOutcome), errors.Is(err, mysql.ErrDeadline):
		default:
			t.Errorf("partition %d: %v", partition, err)
			return
		}
	}
}

// INV-4: a replica that is promoted with lag has an older checkpoint; the writer sees it, and replaying from there is exact.
func TestPromotedLaggingReplicaIsHealedByReplay(t *testing.T) {
	servers := testkit.Shard(t)
	b := newBench(t, servers)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("a", minute(12, 0), 1), counted("b", minute(12, 0), 1)))
	servers.AwaitReplica(t)
	replica := servers.Replica.Root()
	if _, err := replica.Exec(testkit.Speak("STOP SLAVE")); err != nil {
		t.Fatal(err)
	}
	lost := request(epoch, 2, 3, counted("lost", minute(12, 0), 100), counted("a", minute(12, 0), 10), counted("a", minute(3, 0), 1000))
	b.apply(t, lost)
	if err := servers.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	// The promotion: writable, and the next term, under which ids learnt before are void.
	for _, statement := range []string{testkit.Speak("RESET SLAVE ALL"), "SET GLOBAL read_only = OFF", "UPDATE quipu.shard_state SET term = term + 1"} {
		if _, err := replica.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	promoted := &bench{servers: &testkit.ShardServers{Primary: servers.Replica}, read: pool(t, servers.Replica, local.AccountRead, nil), primary: primaryOf(t, servers.Replica, nil)}
	next := request(epoch, 3, 4, counted("a", minute(12, 0), 7))
	stored := refusedAs(t, promoted.primary.Apply(t.Context(), next), mysql.ErrOffsetMoved)
	if stored.NextOffset != 2 || stored.Epoch != epoch {
		t.Fatalf("stored %+v, want offset 2 and epoch %d", stored, epoch)
	}
	// A new key takes the id that a lost key had.
	promoted.apply(t, request(epoch, 2, 3, counted("new", minute(12, 0), 5), counted("lost", minute(12, 0), 100), counted("a", minute(12, 0), 10), counted("a", minute(3, 0), 1000)))
	promoted.apply(t, next)
	for key, want := range map[string]int64{"a": 1018, "b": 1, "lost": 100, "new": 5} {
		if got := promoted.total(t, key); got != want {
			t.Errorf("key %s: got %d, want %d", key, got, want)
		}
	}
}

// The same through one Primary whose connections lead to the promoted database: the term inside the transaction saves it from
// writing under ids that mean other keys.
func TestIDsOfALostPrimaryAreNotUsedOnThePromotedOne(t *testing.T) {
	servers := testkit.Shard(t)
	b := newBench(t, servers)
	var target atomic.Pointer[string]
	address := servers.Primary.Address()
	target.Store(&address)
	b.primary = primaryOf(t, servers.Primary, func(c *mysql.Config) {
		c.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", *target.Load())
		}
	})
	epoch := b.claim(t, 3)
	servers.AwaitReplica(t)
	replica := servers.Replica.Root()
	if _, err := replica.Exec(testkit.Speak("STOP SLAVE")); err != nil {
		t.Fatal(err)
	}
	b.apply(t, request(epoch, 1, 2, counted("lost", minute(12, 0), 100)))
	if err := servers.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		testkit.Speak("RESET SLAVE ALL"), "SET GLOBAL read_only = OFF", "UPDATE quipu.shard_state SET term = term + 1",
		"INSERT INTO quipu.counted_keys (partition_id, name) VALUES (3, 'other')", // takes the id of the lost key
	} {
		if _, err := replica.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	address = servers.Replica.Address()
	r := request(epoch, 1, 2, counted("lost", minute(12, 0), 100))
	var err error
	for range 5 { // a broken connection or two come first
		if err = b.primary.Apply(t.Context(), r); !errors.Is(err, mysql.ErrUnavailable) {
			break
		}
	}
	if !errors.Is(err, mysql.ErrTermChanged) {
		t.Fatalf("got %v, want %v", err, mysql.ErrTermChanged)
	}
	b.apply(t, r)
	b.read, b.servers = pool(t, servers.Replica, local.AccountRead, nil), &testkit.ShardServers{Primary: servers.Replica}
	if lost, other := b.total(t, "lost"), b.total(t, "other"); lost != 100 || other != 0 {
		t.Errorf("got lost %d and other %d, want 100 and 0", lost, other)
	}
}
