package countfile_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/event"
)

const testDay = 29_907_360 // 2026-11-12, in minutes since 1970

var testMeta = countfile.Meta{Resolution: countfile.Minute, Day: testDay, Cluster: "test", Shard: "s1"}

// sample makes rows as shards deliver them: by key in the order of ids that are not that of names, a key's rows together.
func sample(seed uint64, keys, rowsAKey int) []countfile.Row {
	random := rand.New(rand.NewPCG(seed, 1))
	rows := make([]countfile.Row, 0, keys*rowsAKey)
	for _, k := range random.Perm(keys) {
		name := fmt.Sprintf("video-%08d", k)
		row := countfile.Row{Partition: k % 4, Row: event.Row{Type: "view", Key: name}}
		if k%3 == 0 {
			row.Title, row.Owner = "The title of "+name, fmt.Sprintf("owner-%d", k%100)
		}
		if k%5 == 0 {
			row.Type = "watch"
		}
		for i := range rowsAKey {
			row.Minute = testDay + int64(i*(1440/rowsAKey))
			row.Aggregate = event.NewAggregate()
			for range 1 + random.IntN(3) {
				row.AddEvent(1, int64(random.IntN(100_000)), k%5 == 0)
			}
			rows = append(rows, row)
		}
	}
	return rows
}
