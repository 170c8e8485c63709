package zookeeper

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// mark is the content of a mark's node.
type mark struct {
	Token string    `json:"token"` // of the call that made it
	Data  []byte    `json:"data,omitempty"`
	At    time.Time `json:"at"`
}

// Mark notes in the cluster that something was done, once: already tells that it was marked before, and data then changes nothing.
func (c *Client) Mark(ctx context.Context, name string, data []byte) (already bool, err error) {
	if err := checkName("mark", name); err != nil {
		return false, err
	}
	if err := c.ensureFolders(ctx); err != nil {
		return false, fmt.Errorf("mark %s: %w", name, err)
	}
	m := mark{Token: uuid.NewString(), Data: data, At: time.Now().UTC()}
	content, err := json.Marshal(m)
	if err != nil {
		return false, fmt.Errorf("mark %s: %w", name, err)
	}
	made, err := c.create(ctx, c.paths.mark(name), content, 0)
	if err != nil {
		return false, fmt.Errorf("mark %s: %w", name, err)
	}
	if made {
		return false, nil
	}
	found, _, err := c.readMark(ctx, name)
	if err != nil {
		return false, fmt.Errorf("mark %s: %w", name, err)
	}
	return found.Token != m.Token, nil
}

// Marked returns the data of a mark, and whether there is one.
func (c *Client) Marked(ctx context.Context, name string) (data []byte, marked bool, err error) {
	if err := checkName("mark", name); err != nil {
		return nil, false, err
	}
	m, found, err := c.readMark(ctx, name)
	if err != nil {
		return nil, false, fmt.Errorf("read mark %s: %w", name, err)
	}
	return m.Data, found, nil
}

func (c *Client) readMark(ctx context.Context, name string) (m mark, found bool, err error) {
	n, found, err := c.get(ctx, c.paths.mark(name))
	if err != nil || !found {
		return m, false, err
	}
	return m, true, json.Unmarshal(n.data, &m)
}
