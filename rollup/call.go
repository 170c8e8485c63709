package rollup

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/quipudb/quipu/wire"
)

// Pauses between the tries of one call, all proxies of the shard asked each time.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// State asks a shard how far its roll-up came.
func (r *Roller) State(ctx context.Context, shard string) (*wire.RollupState, error) {
	state := &wire.RollupState{}
	if err := r.call(ctx, shard, wire.PathRollup, nil, state); err != nil {
		return nil, err
	}
	r.metrics.saw(state, r.cfg.Now())
	return state, nil
}

// call asks the proxies of a shard until one answers, within the patience. Every call may be repeated: a claim that was taken is
// followed by another, and a step that was done by the next.
func (r *Roller) call(ctx context.Context, shard, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Patience)
	defer cancel()
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		err := r.ask(ctx, shard, path, in, out)
		if err == nil || !wire.Retryable(wire.CodeOf(err)) || pause(ctx, wait/2+rand.N(wait)) != nil {
			return err
		}
	}
}

// ask tries each proxy of a shard once.
func (r *Roller) ask(ctx context.Context, shard, path string, in, out any) error {
	method := http.MethodGet
	if in != nil {
		method = http.MethodPost
	}
	var err error = wire.NewProblem(wire.CodeUnavailable, "shard %s has no proxy just now", shard)
	snapshot := r.cfg.Snapshot()
	if snapshot == nil {
		return err
	}
	proxies := snapshot.ShardProxies(shard)
	rand.Shuffle(len(proxies), func(i, j int) { proxies[i], proxies[j] = proxies[j], proxies[i] })
	for _, proxy := range proxies {
		if err = r.cfg.Client.JSON(ctx, method, proxy.URL+path, in, out); err == nil || !wire.Retryable(wire.CodeOf(err)) {
			return err
		}
	}
	return err
}
