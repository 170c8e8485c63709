package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxAttributeBytes bounds titles and owners.
const maxAttributeBytes = 255

// KeyAttributes are what is known of a key besides its counts. A nil pointer leaves what is stored; an empty text removes it.
type KeyAttributes struct {
	Partition int
	Name      string
	Title     *string
	Owner     *string
}

// Imported counts what ImportKeys did.
type Imported struct{ Created, Updated int }

// ImportKeys sets titles and owners in one transaction and creates the keys that are missing, with no counts.
func (p *Primary) ImportKeys(ctx context.Context, keys []KeyAttributes) (Imported, error) {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	for _, k := range keys {
		if err := k.check(); err != nil {
			return Imported{}, err
		}
	}
	var done Imported
	err := p.retrying(ctx, func() error {
		return p.db.transaction(ctx, func(tx *transaction) error {
			done = Imported{}
			for rest := keys; len(rest) > 0; {
				n := min(len(rest), keysPerStatement)
				created, err := tx.importKeys(ctx, rest[:n])
				if err != nil {
					return err
				}
				done.Created += created
				rest = rest[n:]
			}
			done.Updated = len(keys) - done.Created
			return nil
		})
	})
	if err != nil {
		return Imported{}, fmt.Errorf("import %d keys: %w", len(keys), err)
	}
	return done, nil
}

func (k KeyAttributes) check() error {
	if err := checkName(k.Name); err != nil {
		return err
	}
	for field, text := range map[string]*string{"title": k.Title, "owner": k.Owner} {
		if text != nil && (len(*text) > maxAttributeBytes || !utf8.ValidString(*text)) {
			return fmt.Errorf("%s of key %q must be at most %d bytes of UTF-8: %w", field, k.Name, maxAttributeBytes, ErrUnapplicable)
		}
	}
	return nil
}

// importKeys creates the missing keys, then writes titles, then owners.
func (t *transaction) importKeys(ctx context.Context, keys []KeyAttributes) (created int, err error) {
	if err := t.checkOwned(ctx, keys); err != nil {
		return 0, err
	}
	var names, titles, owners, owned []any
	for _, k := range keys {
		names = append(names, k.Partition, k.Name)
		if k.Title != nil {
			titles = append(titles, k.Partition, k.Name, nullIfEmpty(*k.Title))
		}
		if k.Owner != nil {
			owned = append(owned, k.Partition, k.Name, *k.Owner)
		}
		if k.Owner != nil && *k.Owner != "" {
			owners = append(owners, *k.Owner)
		}
	}
	// INSERT IGNORE counts what it inserted.
	result, err := t.conn.ExecContext(ctx, "INSERT IGNORE INTO counted_keys (partition_id, name) VALUES "+repeated("(?, ?)", len(keys)), names...)
	if err != nil {
		return 0, meaning(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, err
	}
	for _, step := range []struct {
		before, row, after string
		width              int
		args               []any
	}{
		{"INSERT INTO counted_keys (partition_id, name, title) VALUES ", "(?, ?, ?)", " ON DUPLICATE KEY UPDATE title = VALUES(title)", 3, titles},
		{"INSERT IGNORE INTO owners (name) VALUES ", "(?)", "", 1, owners},
		{
			"INSERT INTO counted_keys (partition_id, name, owner_id) VALUES ", "(?, ?, (SELECT id FROM owners o WHERE o.name = ?))",
			" ON DUPLICATE KEY UPDATE owner_id = VALUES(owner_id)", 3, owned,
		},
	} {
		if len(step.args) == 0 {
			continue
		}
		if err := t.exec(ctx, step.before+repeated(step.row, len(step.args)/step.width)+step.after, step.args...); err != nil {
			return 0, err
		}
	}
	return int(n), nil
}

func nullIfEmpty(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func (t *transaction) checkOwned(ctx context.Context, keys []KeyAttributes) error {
	checked := map[int]bool{}
	for _, k := range keys {
		if checked[k.Partition] {
			continue
		}
		if _, err := t.checkpoint(ctx, k.Partition, ""); err != nil {
			return err
		}
		checked[k.Partition] = true
	}
	return nil
}

// KeyInfo is what a database knows of a key, in one snapshot.
type KeyInfo struct {
	Known        bool
	Title, Owner string
	Term         uint64
	AsOf         int64
}

const lookupKey = ` c.as_of, s.term, k.id IS NOT NULL, COALESCE(k.title, ''), COALESCE(o.name, '')
FROM checkpoints c
JOIN shard_state s ON s.id = 1
LEFT JOIN counted_keys k ON k.partition_id = c.partition_id AND k.name = ?
LEFT JOIN owners o ON o.id = k.owner_id
WHERE c.partition_id = ? AND c.owned`

// LookupKey tells what is known of a key.
func (d *DB) LookupKey(ctx context.Context, partition int, name string) (KeyInfo, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return KeyInfo{}, fmt.Errorf("look up key: %w", meaning(err))
	}
	defer conn.Close()
	var info KeyInfo
	err = conn.QueryRowContext(ctx, d.selecting(ctx, lookupKey), name, partition).Scan(&info.AsOf, &info.Term, &info.Known, &info.Title, &info.Owner)
	if err = misroutedIfNone(partition, err); err != nil {
		return KeyInfo{}, fmt.Errorf("look up key: %w", err)
	}
	return info, nil
}

func misroutedIfNone(partition int, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return &CheckpointError{Reason: ErrMisrouted, Stored: Checkpoint{Partition: partition}}
	}
	return meaning(err)
}
