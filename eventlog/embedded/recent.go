package embedded

import "github.com/quipudb/quipu/eventlog"

// recentRecords keeps the last records of a partition, consecutive ones, up to a number of bytes. Its zero value is empty.
type recentRecords struct {
	records []eventlog.Record
	bytes   int64
}

func (c *recentRecords) add(r eventlog.Record, limit int64) {
	if int64(len(r.Data)) > limit {
		c.reset()
		return
	}
	c.records = append(c.records, r)
	c.bytes += int64(len(r.Data))
	drop := 0
	for c.bytes > limit {
		c.bytes -= int64(len(c.records[drop].Data))
		drop++
	}
	c.drop(drop)
}

func (c *recentRecords) trim(before uint64) {
	drop := 0
	for drop < len(c.records) && c.records[drop].Offset < before {
		c.bytes -= int64(len(c.records[drop].Data))
		drop++
	}
	c.drop(drop)
}

func (c *recentRecords) drop(n int) {
	clear(c.records[:n])
	c.records = c.records[n:]
}

func (c *recentRecords) reset() { *c = recentRecords{} }

// from returns the records from an offset on, or nil when that one is not kept.
func (c *recentRecords) from(offset uint64) []eventlog.Record {
	if len(c.records) == 0 || offset < c.records[0].Offset {
		return nil
	}
	return c.records[min(offset-c.records[0].Offset, uint64(len(c.records))):]
}
