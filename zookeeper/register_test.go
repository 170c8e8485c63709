package zookeeper_test

import (
	"context"
	"errors"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/zookeeper"
)

func (p *process) register(t testing.TB, m cluster.Member) (stop func()) {
	t.Helper()
	return background(t, func(ctx context.Context) error { return p.Register(ctx, m) })
}

func TestRegistrationIsRemovedAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	watcher := w.start()
	w.bootstrap(watcher)
	d, _ := watcher.directory(t, "")
	ready(t, d)
	p := w.start()
	stop := p.register(t, member(cluster.RoleReader, "r1"))
	p.register(t, member(cluster.RoleReader, "r2"))
	hasMembers(t, d, cluster.RoleReader, "r1", "r2")
	stop()
	hasMembers(t, d, cluster.RoleReader, "r2")
}

func TestRegistrationIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*world, *process){
		"after its session expired": func(w *world, p *process) {
			p.relay.Cut()
			w.awaitNoNode("members/writer/w1")
			p.relay.Heal()
		},
		"after somebody removed it": func(w *world, _ *process) { w.remove(w.t, "members/writer/w1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, shared.Address())
			watcher := w.start()
			w.bootstrap(watcher)
			d, _ := watcher.directory(t, "")
			p := w.start(brief)
			p.register(t, member(cluster.RoleWriter, "w1"))
			hasMembers(t, d, cluster.RoleWriter, "w1")
			first := w.stat(t, "members/writer/w1")
			lose(w, p)
			w.awaitNewNode(t, "members/writer/w1", first.Czxid)
			hasMembers(t, d, cluster.RoleWriter, "w1")
		})
	}
}

func TestRegistrationOfAnEarlierLifeIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	before := w.start()
	before.register(t, member(cluster.RoleIngest, "i1"))
	watcher := w.start()
	w.bootstrap(watcher)
	d, _ := watcher.directory(t, "")
	hasMembers(t, d, cluster.RoleIngest, "i1")
	first := w.stat(t, "members/ingest/i1")
	before.relay.Cut()
	after := w.start()
	after.register(t, member(cluster.RoleIngest, "i1"))
	w.awaitNewNode(t, "members/ingest/i1", first.Czxid)
}

func TestMemberIDOfAnotherLiveProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	p.register(t, member(cluster.RoleIngest, "i1"))
	w.awaitNewNode(t, "members/ingest/i1", 0)
	other := member(cluster.RoleIngest, "i1")
	other.URL = "http://127.0.0.1/elsewhere"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.start(brief).Register(ctx, other); !errors.Is(err, zookeeper.ErrMemberID) {
		t.Errorf("got %v, want ErrMemberID", err)
	}
}
