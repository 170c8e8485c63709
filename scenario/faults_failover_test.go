package scenario_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quipudb/quipu/testkit"
)

// meshFailover are settings under which primaries may be lost one after another.
var meshFailover = []string{"failover.automatic=true", "failover.pause=1s", "failover.max_per_shard=20"}

// failovers are faults after which shards have other primaries.
func failovers(shards []string) (all []fault) {
	for _, shard := range shards {
		all = append(all,
			lostPrimaries("a primary is killed", (*mesh).killPrimary, (*mesh).revive, shard),
			lostPrimaries("a primary freezes and wakes up later", (*mesh).freezePrimary, (*mesh).wake, shard),
			lostPrimaries("a primary is alive and can't be reached", (*mesh).partition, (*mesh).rejoin, shard),
		)
	}
	return append(all, lostPrimaries("two primaries are killed at once", (*mesh).killPrimary, (*mesh).revive, "s1", "s2"))
}

func (m *mesh) killPrimary(t *testing.T, id string)   { m.kill(t, id) }
func (m *mesh) revive(t *testing.T, id string)        { m.startAgain(t, id) }
func (m *mesh) freezePrimary(t *testing.T, id string) { must(t, m.Process(id).Pause()) }
func (m *mesh) partition(_ *testing.T, id string)     { m.to[id].Hole() }
func (m *mesh) rejoin(_ *testing.T, id string)        { m.to[id].Heal() }
func (m *mesh) wake(t *testing.T, id string)          { must(t, m.Process(id).Resume()) }

// lostPrimaries lasts until every shard has another primary that counts. Those that were lost come back after that, and find their places.
func lostPrimaries(name string, lose, back func(*mesh, *testing.T, string), shards ...string) fault {
	lost := map[string]string{}
	return fault{
		name: fmt.Sprint(name, ": ", shards),
		begin: func(t *testing.T, m *mesh) {
			begun := time.Now()
			for _, shard := range shards {
				lost[shard] = m.primaryOf(t, shard)
				lose(m, t, lost[shard])
			}
			for _, shard := range shards {
				m.awaitOtherPrimary(t, shard, lost[shard])
				resumed := m.reads.resumed(t, begun, m.keysOf(shard), patience)
				t.Logf("%s is the primary of %s; counts are of later than the loss of %s after %v", m.primaryOf(t, shard), shard, lost[shard], resumed.Round(time.Millisecond))
			}
		},
		end: func(t *testing.T, m *mesh) {
			for _, shard := range shards {
				back(m, t, lost[shard])
				m.takeBack(t, shard, lost[shard])
			}
		},
	}
}

func (m *mesh) awaitOtherPrimary(t *testing.T, shard, than string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for m.primaryOf(t, shard) == than {
		if time.Now().After(deadline) {
			t.Fatalf("%s is still the primary of %s:\n%s", than, shard, m.quipu(t, "failover", "plan", "--shard", shard))
		}
		observe(t, watchEvery)
	}
}

// takeBack waits until a database that lost its role follows the new primary, by itself or rebuilt.
func (m *mesh) takeBack(t *testing.T, shard, id string) {
	t.Helper()
	place := ""
	testkit.Eventually(t, patience, func() error {
		topology, _, err := m.directory.Topology(t.Context())
		if err != nil {
			return err
		}
		s, _ := topology.Shard(shard)
		for _, d := range s.Databases {
			if d.ID == id {
				place = string(d.State)
			}
		}
		if place == "detached" {
			return fmt.Errorf("%s is detached", id)
		}
		return nil
	})
	if place == "" {
		t.Logf("%s follows the new primary", id)
		return
	}
	t.Logf("%s is %s; %s", id, place, m.quipu(t, "replica", "rebuild", "--shard", shard, "--database", id))
}
