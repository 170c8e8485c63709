package failover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

// askedAtOnce bounds the questions to the log at a time.
const askedAtOnce = 8

// gather asks everybody about a shard. Only ZooKeeper has to answer; what others can't tell is unknown.
// A primary that is thought to be lost is not waited for long.
func (k *Keeper) gather(ctx context.Context, shard string, lost bool) (*Facts, error) {
	settings, err := k.cfg.Store.Settings(ctx)
	if err != nil {
		return nil, err
	}
	topology, _, err := k.cfg.Store.Topology(ctx)
	if err != nil {
		return nil, err
	}
	f, err := k.factsOf(ctx, settings.ClusterID, &topology, shard, lost)
	if err != nil {
		return nil, err
	}
	for _, other := range topology.Shards {
		if other.ID == shard {
			continue
		}
		record, _, err := k.cfg.Store.Failover(ctx, other.ID)
		if err != nil {
			return nil, err
		}
		if record.Intent != nil {
			f.UnderWay = append(f.UnderWay, other.ID)
		}
	}
	return f, nil
}

// look is gather for a first impression: the cluster as last known, and nothing of other shards.
func (k *Keeper) look(ctx context.Context, shard string) (*Facts, error) {
	s := k.cfg.Snapshot()
	if s == nil {
		return nil, errors.New("the cluster is not known yet")
	}
	return k.factsOf(ctx, s.Settings.ClusterID, &s.Topology, shard, true)
}

func (k *Keeper) factsOf(ctx context.Context, clusterID string, topology *cluster.Topology, shard string, lost bool) (*Facts, error) {
	f := &Facts{ClusterID: clusterID, Partitions: topology.PartitionsOf(shard), Servers: map[string]*Server{}}
	var ok bool
	if f.Shard, ok = topology.Shard(shard); !ok {
		return nil, fmt.Errorf("the topology has no shard %q", shard)
	}
	var err error
	if f.Record, _, err = k.cfg.Store.Failover(ctx, shard); err != nil {
		return nil, err
	}
	k.askAll(ctx, f, lost)
	return f, nil
}

// askAll asks proxies and databases at once.
func (k *Keeper) askAll(ctx context.Context, f *Facts, lost bool) {
	var wg sync.WaitGroup
	wg.Go(func() { f.Proxies = k.askProxies(ctx, f.Shard) })
	var mu sync.Mutex // guards f.Servers
	for _, d := range f.Shard.Databases {
		wg.Go(func() {
			patience := k.cfg.Timeout
			if lost && d.Role == cluster.Primary {
				patience /= 4
			}
			s := k.askServer(ctx, d, patience)
			mu.Lock()
			defer mu.Unlock()
			f.Servers[d.ID] = s
		})
	}
	wg.Wait()
	f.Now = k.cfg.Now()
	primary, ok := f.Shard.PrimaryDatabase()
	for _, d := range f.Shard.Databases {
		if s := f.Servers[d.ID]; ok && d.Role == cluster.Replica {
			s.Word, s.Reason = k.wordOf(d, s, primary, f.Now)
		}
	}
}

func (k *Keeper) askServer(ctx context.Context, d cluster.Database, patience time.Duration) *Server {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pool, err := k.server(d)
	if err == nil {
		var member *mysql.Member
		if member, err = pool.Member(ctx); err == nil {
			s := &Server{Member: member}
			if err := migrations.Known(member.SchemaVersion, member.SchemaDirty); err != nil {
				s.SchemaError = err.Error()
			}
			return s
		}
	}
	return &Server{Error: err.Error(), Word: WordUnknown}
}

// wordOf tells whether a replica hears of the primary. That its connection stands means nothing: the other end may be frozen.
func (k *Keeper) wordOf(d cluster.Database, s *Server, primary cluster.Database, now time.Time) (Word, string) {
	if s.Member == nil {
		return WordUnknown, "it does not answer"
	}
	l := s.Link
	if !l.Configured || l.Host+":"+strconv.Itoa(l.Port) != primary.Address {
		return WordUnknown, "it does not follow " + primary.ID
	}
	if !l.Receiving && !l.Connecting {
		k.heardOf(d.ID+" of "+primary.ID, "stopped", now) // once it listens again, its silence begins anew
		return WordUnknown, "it is not receiving: " + l.ReceiveErr
	}
	quiet := now.Sub(k.heardOf(d.ID+" of "+primary.ID, l.Heard, now))
	switch {
	case !l.Receiving && l.Unreached:
		return WordDown, l.ReceiveErr
	case quiet > k.cfg.Silence:
		return WordDown, fmt.Sprintf("nothing heard for %s", quiet.Round(100*time.Millisecond))
	case !l.Receiving:
		return WordUnknown, "it is connecting: " + l.ReceiveErr
	}
	return WordAlive, ""
}

// heardOf notes the sign and returns when it became this one.
func (k *Keeper) heardOf(whom, sign string, now time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.heard[whom].sign != sign || k.heard[whom].at.IsZero() {
		k.heard[whom] = heard{sign, now}
	}
	return k.heard[whom].at
}

// askProxies asks each of the shard's registered proxies for its verdict on the primary.
func (k *Keeper) askProxies(ctx context.Context, shard cluster.Shard) []ProxyWord {
	snapshot := k.cfg.Snapshot()
	primary, ok := shard.PrimaryDatabase()
	if snapshot == nil || !ok {
		return nil
	}
	members := snapshot.ShardProxies(shard.ID)
	words := make([]ProxyWord, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			words[i] = ProxyWord{Member: m.ID}
			words[i].Word, words[i].Reason = k.askProxy(ctx, m, primary)
		})
	}
	wg.Wait()
	return words
}

func (k *Keeper) askProxy(ctx context.Context, m cluster.Member, primary cluster.Database) (Word, string) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	var told wire.DatabasesAnswer
	if err := k.cfg.Client.JSON(ctx, http.MethodGet, m.URL+wire.PathDatabases, nil, &told); err != nil {
		return WordUnknown, err.Error()
	}
	for _, v := range told.Databases {
		if v.ID != primary.ID || v.Address != primary.Address || v.Role != string(cluster.Primary) {
			continue
		}
		switch {
		case v.Healthy:
			return WordAlive, ""
		case v.Probed && (v.Code == wire.CodeUnavailable || v.Code == wire.CodeDeadline):
			return WordDown, v.Reason
		}
		return WordUnknown, v.Reason
	}
	return WordUnknown, "it does not know " + primary.ID + " as the primary"
}

// askLog asks what the log holds of the shard's partitions.
func (k *Keeper) askLog(ctx context.Context, f *Facts) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askedAtOnce)
	facts := &LogFacts{Partitions: map[int]LogRange{}}
	var mu sync.Mutex // guards facts
	for _, partition := range f.Partitions {
		group.Go(func() error {
			b, err := k.cfg.Log.Bounds(ctx, partition)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if facts.Incarnation != "" && facts.Incarnation != b.Incarnation {
				return errors.New("two logs answered")
			}
			facts.Incarnation = b.Incarnation
			facts.Partitions[partition] = LogRange{b.First, b.Next}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		f.LogError = err.Error()
		return
	}
	f.Log = facts
}

// Plan says what would be done, and does nothing.
func (k *Keeper) Plan(ctx context.Context, shard string, r Request) (*Plan, error) {
	f, err := k.gather(ctx, shard, false)
	if err != nil {
		return nil, fmt.Errorf("plan the failover of shard %s: %w", shard, err)
	}
	k.askLog(ctx, f)
	return Decide(f, k.cfg.Rules, r), nil
}
