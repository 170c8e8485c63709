package mysql

import (
	"context"
	"fmt"

	"github.com/quipudb/quipu/event"
)

// typeID returns the id of an event type and makes one if the shard meets it for the first time.
func (p *Primary) typeID(ctx context.Context, g *generation, name string) (uint16, error) {
	if id, ok := g.typeID(name); ok {
		return id, nil
	}
	if !event.ValidTypeName(name) {
		return 0, fmt.Errorf("event type %.80q has an invalid name: %w", name, ErrUnapplicable)
	}
	if err := p.ensureType(ctx, name); err != nil {
		return 0, err
	}
	var id uint16
	if err := p.db.sql.GetContext(ctx, &id, "SELECT id FROM event_types WHERE name = ?", name); err != nil {
		return 0, fmt.Errorf("read event type %s: %w", name, meaning(err))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.types[name] = id
	return id, nil
}

func (g *generation) typeID(name string) (id uint16, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, ok = g.types[name]
	return id, ok
}

// ensureType writes what the registry knows of a type. The log is the truth and the registry may lag: a type that it does not
// know gets its name for now.
func (p *Primary) ensureType(ctx context.Context, name string) error {
	if known, ok := p.cfg.EventTypes()[name]; ok {
		return p.RegisterType(ctx, known)
	}
	if _, err := p.db.sql.ExecContext(ctx, "INSERT IGNORE INTO event_types (name) VALUES (?)", name); err != nil {
		return fmt.Errorf("write event type %s: %w", name, meaning(err))
	}
	return nil
}

// RegisterType makes the shard know an event type, or sets right what it knows of it. Repeating it changes nothing.
func (p *Primary) RegisterType(ctx context.Context, t event.Type) error {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	var stored int
	err := p.db.sql.GetContext(ctx, &stored, "SELECT COUNT(*) FROM event_types WHERE name = ? AND unit = ? AND description = ? AND allow_negative = ?",
		t.Name, t.Unit, t.Description, t.AllowNegative)
	if err != nil {
		return fmt.Errorf("read event type %s: %w", t.Name, meaning(err))
	}
	if stored == 1 {
		return nil
	}
	_, err = p.db.sql.ExecContext(ctx, `INSERT INTO event_types (name, unit, description, allow_negative) VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE unit = VALUES(unit), description = VALUES(description), allow_negative = VALUES(allow_negative)`,
		t.Name, t.Unit, t.Description, t.AllowNegative)
	if err != nil {
		return fmt.Errorf("write event type %s: %w", t.Name, meaning(err))
	}
	return nil
}
