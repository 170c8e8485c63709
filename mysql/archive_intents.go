package mysql

import (
	"context"
	"fmt"
)

// maxObjectBytes bounds the name of an object in cold storage.
const maxObjectBytes = 512

// objectsPerStatement bounds the placeholders of one statement.
const objectsPerStatement = 500

// IntendObjects announces objects that are about to be written. A name that the manifest knows is refused: names are never used twice.
func (p *Primary) IntendObjects(ctx context.Context, l Leader, objects []string) error {
	if err := checkObjects(objects); err != nil {
		return fmt.Errorf("announce objects: %w", err)
	}
	now := p.cfg.Now().UTC()
	err := p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		return portions(objects, func(part []string) error {
			var used []string
			if err := tx.conn.SelectContext(ctx, &used, "SELECT object FROM archive_manifest WHERE object IN ("+repeated("?", len(part))+") LIMIT 1", anys(part)...); err != nil {
				return meaning(err)
			}
			if len(used) > 0 {
				return fmt.Errorf("object %s is in the manifest: %w", used[0], ErrConflict)
			}
			args := make([]any, 0, 2*len(part))
			for _, object := range part {
				args = append(args, object, now)
			}
			return tx.exec(ctx, "INSERT INTO archive_intents (object, created_at) VALUES "+repeated("(?, ?)", len(part))+
				" ON DUPLICATE KEY UPDATE created_at = VALUES(created_at)", args...)
		})
	})
	if err != nil {
		return fmt.Errorf("announce %d objects: %w", len(objects), err)
	}
	return nil
}

// ForgetObjects removes what is known of objects that were deleted: intents and retired rows of the manifest. One that is stored is refused.
func (p *Primary) ForgetObjects(ctx context.Context, l Leader, objects []string) error {
	err := p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		return portions(objects, func(part []string) error {
			named, args := " WHERE object IN ("+repeated("?", len(part))+")", anys(part)
			var stored []string
			if err := tx.conn.SelectContext(ctx, &stored, "SELECT object FROM archive_manifest"+named+" AND state = 'stored' LIMIT 1", args...); err != nil {
				return meaning(err)
			}
			if len(stored) > 0 {
				return fmt.Errorf("object %s is stored: %w", stored[0], ErrConflict)
			}
			if err := tx.exec(ctx, "DELETE FROM archive_intents"+named, args...); err != nil {
				return err
			}
			return tx.exec(ctx, "DELETE FROM archive_manifest"+named, args...)
		})
	})
	if err != nil {
		return fmt.Errorf("forget %d objects: %w", len(objects), err)
	}
	return nil
}

// References returns which of some objects this database refers to, as stored or as intent.
func (d *DB) References(ctx context.Context, objects []string) ([]string, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var all []string
	err := portions(objects, func(part []string) error {
		list := "object IN (" + repeated("?", len(part)) + ")"
		var found []string
		err := d.sql.SelectContext(ctx, &found, "SELECT object FROM archive_manifest WHERE state = 'stored' AND "+list+
			" UNION SELECT object FROM archive_intents WHERE "+list, anys(part, part)...)
		all = append(all, found...)
		return meaning(err)
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s for references to objects: %w", d.cfg.ID, err)
	}
	return all, nil
}

func checkObjects(objects []string) error {
	for _, object := range objects {
		if object == "" || len(object) > maxObjectBytes {
			return fmt.Errorf("object %.40q must have 1 to %d bytes: %w", object, maxObjectBytes, ErrUnapplicable)
		}
		for i := range len(object) {
			if object[i] < ' ' || object[i] > '~' {
				return fmt.Errorf("object %.40q must be printable ASCII: %w", object, ErrUnapplicable)
			}
		}
	}
	return nil
}

// portions hands over a list in parts that a statement can name.
func portions[T any](list []T, each func([]T) error) error {
	for len(list) > 0 {
		n := min(len(list), objectsPerStatement)
		if err := each(list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func anys[T any](lists ...[]T) []any {
	var all []any
	for _, list := range lists {
		for _, v := range list {
			all = append(all, v)
		}
	}
	return all
}
