package shardproxy

import (
	"context"
	"maps"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/internal/wait"
)

// prepareAhead makes what Apply will need: time partitions, and what is registered of event types. Apply makes what is missing itself, so
// failing here is no more than a warning.
func (p *Proxy) prepareAhead(ctx context.Context) error {
	var told map[string]event.Type // what the primary was told of
	var toldTo *database
	for {
		d, err := p.writing()
		healthy := err == nil && d.health.Load().healthy && !d.health.Load().last.ReadOnly
		if healthy {
			if d != toldTo {
				told, toldTo = map[string]event.Type{}, d
			}
			p.makeTimePartitions(ctx, d)
			p.registerTypes(ctx, d, told)
		}
		rest := p.cfg.PartitionInterval
		if !healthy {
			rest = min(rest, p.cfg.ProbeInterval)
		}
		if wait.For(ctx, rest) != nil {
			return nil
		}
	}
}

func (p *Proxy) makeTimePartitions(ctx context.Context, d *database) {
	if _, err := d.primary.MakeTimePartitions(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("making time partitions failed, will try again", "database", d.ID, "error", err)
	}
}

// registerTypes tells the primary of types that changed since.
func (p *Proxy) registerTypes(ctx context.Context, d *database, told map[string]event.Type) {
	now := p.cfg.EventTypes()
	for name, t := range now {
		if told[name] == t {
			continue
		}
		if err := d.primary.RegisterType(ctx, t); err != nil {
			if ctx.Err() == nil {
				p.log.Warn("registering an event type failed, will try again", "database", d.ID, "type", name, "error", err)
			}
			return
		}
		told[name] = t
	}
	maps.DeleteFunc(told, func(name string, _ event.Type) bool { _, ok := now[name]; return !ok })
}
