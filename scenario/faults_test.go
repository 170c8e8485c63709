package scenario_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// fault is something that goes wrong while events flow and keys are asked for.
type fault struct {
	name    string
	shards  []string // whose keys it may keep from being answered; nil: nobody's
	lasting time.Duration
	begin   func(*testing.T, *mesh)
	end     func(*testing.T, *mesh)
}

// outageLasts is how long what has broken stays so.
const outageLasts = 6 * time.Second

// faults of one kind each, on the shards and processes that the seed chooses. In the soak all of them are.
func faults(random *rand.Rand) (all []fault) {
	pick := func(names ...string) []string {
		if soak {
			return names
		}
		return []string{names[random.IntN(len(names))]}
	}
	for _, name := range pick("shard-proxy-s1", "shard-proxy-s2-2") {
		all = append(all, gone("a shard proxy is gone", name))
	}
	for _, name := range pick("cluster-proxy", "cluster-proxy-2") {
		all = append(all, gone("a cluster proxy is gone", name))
	}
	shards := pick("s1", "s2")
	all = append(all, failovers(shards)...)
	for _, shard := range shards {
		all = append(all, replicaGone(shard), bothGone(shard), slowDatabases(shard), holeToProxy(shard))
	}
	return append(all, slowProxies(), resets(), ingestUnreachable(), zooKeeperGone(), zooKeeperOneSided())
}

// gone is a process that is killed and started again later. Another one of its kind is there all the time.
func gone(what, name string) fault {
	return fault{
		name: what + ": " + name, lasting: outageLasts,
		begin: func(t *testing.T, m *mesh) { m.kill(t, name) },
		end:   func(t *testing.T, m *mesh) { m.startAgain(t, name) },
	}
}

func replicaGone(shard string) fault {
	var replica string
	return fault{
		name: "a replica is gone: " + shard, lasting: outageLasts,
		begin: func(t *testing.T, m *mesh) { replica = m.replicaOf(t, shard); m.kill(t, replica) },
		end:   func(t *testing.T, m *mesh) { m.startAgain(t, replica) },
	}
}

// bothGone takes a whole shard away: its answers are old or missing, and those of the other shard are as ever.
func bothGone(shard string) fault {
	var both []string
	return fault{
		name: "all databases of a shard are gone: " + shard, shards: []string{shard}, lasting: outageLasts,
		begin: func(t *testing.T, m *mesh) {
			both = []string{m.primaryOf(t, shard), m.replicaOf(t, shard)}
			m.kill(t, both...)
		},
		end: func(t *testing.T, m *mesh) { m.startAgain(t, both...) },
	}
}

const slowBy = 50 * time.Millisecond

func slowDatabases(shard string) fault {
	each := func(t *testing.T, m *mesh, do func(name string)) {
		do(m.primaryOf(t, shard))
		do(m.replicaOf(t, shard))
	}
	return fault{
		name: "the network to the databases is slow: " + shard, lasting: outageLasts,
		begin: func(t *testing.T, m *mesh) { each(t, m, func(name string) { m.to[name].Slow(slowBy) }) },
		end:   func(t *testing.T, m *mesh) { each(t, m, func(name string) { m.to[name].Heal() }) },
	}
}

func slowProxies() fault {
	return fault{
		name: "the network between the roles is slow", lasting: outageLasts,
		begin: func(_ *testing.T, m *mesh) {
			for _, name := range meshReached {
				m.to[name].Slow(slowBy)
			}
		},
		end: func(_ *testing.T, m *mesh) {
			for _, name := range meshReached {
				m.to[name].Heal()
			}
		},
	}
}

// holeToProxy swallows all that is said to a shard proxy and a cluster proxy. Others of their kind can be reached.
func holeToProxy(shard string) fault {
	names := []string{"shard-proxy-" + shard, "cluster-proxy-2"}
	return fault{
		name: "what is sent to a shard proxy and a cluster proxy falls into a hole: " + shard, shards: []string{"s1", "s2"}, lasting: outageLasts,
		begin: func(_ *testing.T, m *mesh) {
			for _, name := range names {
				m.to[name].Hole()
			}
		},
		end: func(_ *testing.T, m *mesh) {
			for _, name := range names {
				m.to[name].Heal()
			}
		},
	}
}

// ingestUnreachable keeps writers from the log. Producers have it on their side of the link.
func ingestUnreachable() fault {
	return fault{
		name: "writers can't reach the log", lasting: outageLasts,
		begin: func(_ *testing.T, m *mesh) { m.to["ingest"].Hole() },
		end:   func(_ *testing.T, m *mesh) { m.to["ingest"].Heal() },
	}
}

// resets breaks every connection between roles and to databases, again and again.
func resets() fault {
	const times = 10
	return fault{
		name: "connections are reset", shards: []string{"s1", "s2"},
		begin: func(t *testing.T, m *mesh) {
			for range times {
				for _, link := range m.to {
					link.Reset()
				}
				observe(t, outageLasts/times)
			}
		},
		end: func(*testing.T, *mesh) {},
	}
}

func zooKeeperGone() fault {
	return fault{
		name: "ZooKeeper is gone", lasting: outageLasts,
		begin: func(t *testing.T, m *mesh) { m.kill(t, "zookeeper") },
		end:   func(t *testing.T, m *mesh) { m.startAgain(t, "zookeeper") },
	}
}

// zooKeeperOneSided cuts one of each kind of proxy off from ZooKeeper for longer than their sessions last: their nodes go, and come back.
func zooKeeperOneSided() fault {
	names := []string{"cluster-proxy", "shard-proxy-s1", "shard-proxy-s2-2"}
	return fault{
		name: "some proxies can't reach ZooKeeper and their sessions expire", lasting: 2*outageLasts + sessionTimeout,
		begin: func(_ *testing.T, m *mesh) {
			for _, name := range names {
				m.zooKeeper[name].Hole()
			}
		},
		end: func(_ *testing.T, m *mesh) {
			for _, name := range names {
				m.zooKeeper[name].Heal()
			}
		},
	}
}

const sessionTimeout = 10 * time.Second // cluster.session_timeout

// TestFaults lets one thing after another go wrong while events flow and keys are asked for all the time. No answer is ever wrong, those that the
// fault does not concern are answered all the while, and afterwards every count is exact (INV-1, INV-4, INV-8, INV-9, INV-10).
func TestFaults(t *testing.T) {
	t.Parallel()
	m := newMesh(t, nil)
	random := rand.New(rand.NewPCG(m.seed, 1<<33))
	list := faults(random)
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, f := range list {
		if !t.Run(f.name, func(t *testing.T) { m.suffer(t, f) }) {
			t.Fatal("what follows would say nothing")
		}
	}
	m.ledger.verify(t, m.now(t))
	m.ledger.mu.Lock()
	defer m.ledger.mu.Unlock()
	t.Logf("%d events, %d requests repeated", m.ledger.accepted, m.ledger.retries)
}

// leastAnswered is the share of questions that must be answered although something is broken that has a second of its kind.
const leastAnswered = 0.999

func (m *mesh) suffer(t *testing.T, f fault) {
	s := m.stream(t)
	s.awaitFlow(t)
	awaitCounted(t, m.url("reader"))
	begun := time.Now()
	f.begin(t, m)
	observe(t, f.lasting)
	s.awaitFlow(t)
	ended := time.Now()
	for _, shard := range []string{"s1", "s2"} {
		saw := m.reads.since(begun, m.keysOf(shard))
		t.Logf("readers of %s: %v", shard, saw)
		if concerned(f, shard) {
			continue
		}
		if saw.asked == 0 || saw.ratio() < leastAnswered {
			t.Errorf("readers of %s got answers to %.2f%% of %d questions, want at least %.1f%%", shard, 100*saw.ratio(), saw.asked, 100*leastAnswered)
		}
	}
	f.end(t, m)
	for _, shard := range []string{"s1", "s2"} {
		t.Logf("counts of %s were as of a later instant than the fault's beginning after %v, than its end after %v", shard,
			m.reads.resumed(t, begun, m.keysOf(shard), patience).Round(time.Millisecond), m.reads.resumed(t, ended, m.keysOf(shard), patience).Round(time.Millisecond))
	}
	s.awaitFlow(t)
	s.stop(t)
	m.ledger.verifyKeys(t, m.now(t))
}

func concerned(f fault, shard string) bool {
	for _, s := range f.shards {
		if s == shard {
			return true
		}
	}
	return false
}
