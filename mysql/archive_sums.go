package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/quipudb/quipu/event"
)

// ArchiveSums are what one partition has in an object, or in a part of a table.
type ArchiveSums struct {
	Partition  int
	Rows       int64
	EventCount event.Sum
	ValueCount event.Sum
	ValueSum   event.Sum
}

func (s ArchiveSums) String() string {
	return fmt.Sprintf("%d rows, %s events, %s values of sum %s", s.Rows, s.EventCount, s.ValueCount, s.ValueSum)
}

// ConservationError says that objects don't hold what they would replace.
type ConservationError struct {
	Partition int
	Want      ArchiveSums // of what would be replaced
	Got       ArchiveSums // of what would replace it
}

func (e *ConservationError) Error() string {
	return fmt.Sprintf("partition %d: there are %s, offered are %s: %v", e.Partition, e.Want, e.Got, ErrConservation)
}

func (e *ConservationError) Unwrap() error { return ErrConservation }

// partitionSums are sums by partition.
type partitionSums map[int]ArchiveSums

func (p partitionSums) add(s ArchiveSums) {
	sum := p[s.Partition]
	p[s.Partition] = ArchiveSums{
		Partition: s.Partition, Rows: sum.Rows + s.Rows, EventCount: sum.EventCount.Add(s.EventCount),
		ValueCount: sum.ValueCount.Add(s.ValueCount), ValueSum: sum.ValueSum.Add(s.ValueSum),
	}
}

func (p partitionSums) rows() (n int64) {
	for _, s := range p {
		n += s.Rows
	}
	return n
}

// conserve returns a *ConservationError for the first partition of which not the same is offered.
func (p partitionSums) conserve(offered partitionSums, same func(want, got ArchiveSums) bool) error {
	partitions := slices.AppendSeq(slices.Collect(maps.Keys(p)), maps.Keys(offered))
	slices.Sort(partitions)
	for _, partition := range slices.Compact(partitions) {
		want, got := p[partition], offered[partition]
		want.Partition, got.Partition = partition, partition
		if !same(want, got) {
			return &ConservationError{Partition: partition, Want: want, Got: got}
		}
	}
	return nil
}

func sameInAll(want, got ArchiveSums) bool { return want == got }

// sameButRows allows for rows of the same key, type and start that became one.
func sameButRows(want, got ArchiveSums) bool {
	if got.Rows > want.Rows || (got.Rows == 0) != (want.Rows == 0) {
		return false
	}
	got.Rows = want.Rows
	return want == got
}

// Portions of keys that are summed up in one statement: as many as have about this many rows.
const (
	sumRows      = 200_000
	firstSumKeys = 1000
	maxSumKeys   = 50_000
)

// The sum of each of the next keys. Rows of a key are in its order in every time partition, so the server reads no more than it needs.
const sumKeys = `SELECT key_id, COUNT(*), SUM(event_count), COALESCE(SUM(value_count), 0), COALESCE(SUM(value_sum), 0)
FROM %s FORCE INDEX (PRIMARY) WHERE start >= %s AND start < %s AND key_id >= ? GROUP BY key_id ORDER BY key_id LIMIT %d`

// sumTable sums up rows that don't change, in short statements, without locks.
func (d *DB) sumTable(ctx context.Context, table string, from, to int64) (partitionSums, error) {
	total, next, limit := partitionSums{}, uint64(0), firstSumKeys
	for {
		text := fmt.Sprintf(sumKeys, table, appendTime(nil, from), appendTime(nil, to), limit)
		byKey, err := d.readSums(ctx, text, next)
		if err != nil {
			return nil, fmt.Errorf("sum up %s: %w", table, err)
		}
		if len(byKey) == 0 {
			return total, nil
		}
		last, err := d.addByPartition(ctx, total, byKey)
		if err != nil {
			return nil, fmt.Errorf("sum up %s: %w", table, err)
		}
		if len(byKey) < limit || last == allKeys {
			return total, nil
		}
		rows := int64(0)
		for _, k := range byKey {
			rows += k.Rows
		}
		next, limit = last+1, int(min(max(int64(limit)*sumRows/rows, 1), int64(limit)*8, maxSumKeys))
	}
}

// keySums are the sums of one key.
type keySums struct {
	key uint64
	ArchiveSums
}

func (d *DB) readSums(ctx context.Context, text string, args ...any) ([]keySums, error) {
	rows, err := d.sql.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, meaning(err)
	}
	defer rows.Close()
	var all []keySums
	for rows.Next() {
		var k keySums
		if k.key, k.ArchiveSums, err = scanSums(rows); err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, meaning(rows.Err())
}

// scanSums reads an id, a number of rows and three sums.
func scanSums(rows *sql.Rows) (id uint64, s ArchiveSums, err error) {
	var events, counts, sums sql.RawBytes
	if err := rows.Scan(&id, &s.Rows, &events, &counts, &sums); err != nil {
		return 0, s, meaning(err)
	}
	for text, into := range map[*sql.RawBytes]*event.Sum{&events: &s.EventCount, &counts: &s.ValueCount, &sums: &s.ValueSum} {
		if *into, err = event.ParseSum(string(*text)); err != nil {
			return 0, s, fmt.Errorf("read sum: %w", err)
		}
	}
	return id, s, nil
}

// addByPartition adds the sums of keys, sorted by id, to those of their partitions and returns the last key.
func (d *DB) addByPartition(ctx context.Context, total partitionSums, byKey []keySums) (last uint64, err error) {
	last = byKey[len(byKey)-1].key
	ids := make([]uint64, len(byKey))
	for i := range byKey {
		ids[i] = byKey[i].key
	}
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return 0, meaning(err)
	}
	defer conn.Close()
	i := 0
	err = eachKey(ctx, conn, "SELECT k.id, k.partition_id FROM counted_keys k", ids, func(rows *sql.Rows) error {
		var id uint64
		var partition int
		if err := rows.Scan(&id, &partition); err != nil {
			return meaning(err)
		}
		if i == len(byKey) || byKey[i].key > id {
			return nil // a key without rows
		}
		if byKey[i].key < id {
			return nameless(byKey[i].key)
		}
		byKey[i].Partition = partition
		total.add(byKey[i].ArchiveSums)
		i++
		return nil
	})
	if err == nil && i < len(byKey) {
		err = nameless(byKey[i].key)
	}
	return last, err
}

func nameless(key uint64) error {
	return fmt.Errorf("there are rows of key id %d, which has no name: %w", key, ErrSchema)
}
