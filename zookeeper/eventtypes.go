package zookeeper

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/quipudb/quipu/event"
)

// MaxEventTypes bounds the registered event types.
const MaxEventTypes = 4096

// CreateEventType registers an event type. One that exists with the same definition (its time of creation apart) is fine:
// created is false; with another one it is ErrTypeConflict.
func (c *Client) CreateEventType(ctx context.Context, t event.Type) (created bool, err error) {
	if err := t.Validate(); err != nil {
		return false, fmt.Errorf("create event type: %w", err)
	}
	if err := c.ensureFolders(ctx); err != nil {
		return false, fmt.Errorf("create event type %s: %w", t.Name, err)
	}
	names, err := c.children(ctx, c.paths.eventTypes())
	if err != nil {
		return false, fmt.Errorf("create event type %s: %w", t.Name, err)
	}
	if len(names) >= MaxEventTypes && !slices.Contains(names, t.Name) {
		return false, fmt.Errorf("create event type %s: %w: there are %d", t.Name, ErrTooManyTypes, len(names))
	}
	data, err := json.Marshal(t)
	if err != nil {
		return false, fmt.Errorf("create event type %s: %w", t.Name, err)
	}
	created, err = c.create(ctx, c.paths.eventType(t.Name), data, 0)
	if err != nil || created {
		return created, err
	}
	return false, c.compareEventType(ctx, t)
}

func (c *Client) compareEventType(ctx context.Context, t event.Type) error {
	found, ok, err := c.readEventType(ctx, t.Name)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("create event type %s: its node was removed meanwhile", t.Name)
	}
	t.CreatedAt = found.CreatedAt
	if t != found {
		return fmt.Errorf("%w: %s has unit %q, description %q, allow_negative %t, accept_late %s", ErrTypeConflict,
			found.Name, found.Unit, found.Description, found.AllowNegative, event.FormatDuration(found.AcceptLate))
	}
	return nil
}

// errTypeContent is a node that will not make an event type by being read again.
var errTypeContent = errors.New("node holds no valid event type")

func (c *Client) readEventType(ctx context.Context, name string) (t event.Type, found bool, err error) {
	n, found, err := c.get(ctx, c.paths.eventType(name))
	if err != nil || !found {
		return t, false, err
	}
	if err := json.Unmarshal(n.data, &t); err != nil {
		return t, false, fmt.Errorf("read event type %s: %w: %w", name, errTypeContent, err)
	}
	if t.Name != name {
		return t, false, fmt.Errorf("read event type %s: %w: it names %q", name, errTypeContent, t.Name)
	}
	if err := t.Validate(); err != nil {
		return t, false, fmt.Errorf("read event type %s: %w: %w", name, errTypeContent, err)
	}
	return t, true, nil
}

// ListEventTypes returns the registered event types by name.
func (c *Client) ListEventTypes(ctx context.Context) ([]event.Type, error) {
	names, err := c.children(ctx, c.paths.eventTypes())
	if err != nil {
		return nil, fmt.Errorf("list event types: %w", err)
	}
	types := make([]event.Type, 0, len(names))
	for _, name := range names {
		t, found, err := c.readEventType(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("list event types: %w", err)
		}
		if found {
			types = append(types, t)
		}
	}
	slices.SortFunc(types, func(a, b event.Type) int { return cmp.Compare(a.Name, b.Name) })
	return types, nil
}
