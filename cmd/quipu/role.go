package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
)

// Deadlines of the stages of a stop, besides http.drain.
const (
	deregisterGrace = 5 * time.Second
	drainMargin     = 2 * time.Second // beyond http.drain, for cutting off what is left
	roleGrace       = 30 * time.Second
)

// duty is a role once it is built. What is nil or zero is not needed.
type duty struct {
	run   func(context.Context) error // until told to stop
	heap  headroom                    // while it runs
	ready func(context.Context) error // why it can't serve just now
	grace time.Duration               // to end run in
	// endsWaits says that the end of run makes requests that wait return, and that no request needs it: so it comes before the drain.
	endsWaits bool
	close     func() error // what run and the requests use, once both have ended
}

func (d *duty) setDefaults() {
	if d.run == nil {
		d.run = func(ctx context.Context) error { <-ctx.Done(); return nil }
	}
	if d.ready == nil {
		d.ready = func(context.Context) error { return nil }
	}
	if d.grace == 0 {
		d.grace = roleGrace
	}
	if d.heap == (headroom{}) {
		d.heap = defaultHeadroom
	}
}

// runRole runs the process of a role until ctx ends.
//
//	configuration → logger → metrics registry → HTTP server (listens; answers probes)
//	                                               ZooKeeper client → directory (the cluster as last known)
//	                                                                    role (build) → its routes are open → role (runs)
//	                                                                                     registered as a member, once ready
//
// It stops in reverse order: deregistered, HTTP drained, role, directory, ZooKeeper session.
func runRole(c *cobra.Command, cfg *config.Effective, p post, build func(context.Context, *host) (duty, error)) error {
	ctx := c.Context()
	h, err := newHost(logger(c.ErrOrStderr(), cfg), cfg, p)
	if err != nil {
		return err
	}
	defer h.calls.Close()
	if err := h.listen(); err != nil {
		return err
	}
	parts := newGroup(h.log)
	parts.start("ZooKeeper client", zooKeeperGrace, h.zk.Run)
	parts.start("directory", directoryGrace, h.directory.Run)
	parts.start("HTTP server", cfg.HTTP.Drain+drainMargin, h.server.Run)
	if err := h.join(ctx, parts); err != nil {
		return parts.fail(ctx, err)
	}
	d, err := build(ctx, h)
	if err != nil {
		return parts.fail(ctx, err)
	}
	d.setDefaults()
	h.ready.Store(&d.ready)
	h.server.Open()
	if d.close != nil {
		parts.start("resources", roleGrace, func(ctx context.Context) error { <-ctx.Done(); return d.close() })
		parts.stopsFirst("HTTP server")
	}
	parts.start("role", d.grace, withHeadroom(d.heap, d.run))
	if !d.endsWaits {
		parts.stopsFirst("HTTP server") // requests in flight need the role
	}
	parts.start("registration", deregisterGrace, h.register)
	h.log.Info("started", "url", h.server.URL(), "advertised", h.member.URL, "cluster", h.directory.Snapshot().Settings.ClusterID, "version", version)
	err = parts.run(ctx)
	h.log.Info("stopped")
	return err
}

// roleCommands lists the commands that run a role.
func roleCommands(s *settings) []*cobra.Command {
	return []*cobra.Command{
		newIngestCommand(s), newWriterCommand(s), newClusterProxyCommand(s), newShardProxyCommand(s), newReaderCommand(s),
		newRollupCommand(s), newFailoverCommand(s),
	}
}
