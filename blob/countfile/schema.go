package countfile

import (
	"fmt"
	"time"

	"github.com/parquet-go/parquet-go"
)

const (
	formatVersion = "1"
	bloomBits     = 10 // a key
	fewRows       = 4  // a key, on average: below it, dictionaries of keys cost more than they save
)

// The columns, in the order of the schema.
const (
	colPartition = iota
	colType
	colKey
	colTitle
	colOwner
	colStart
	colEventCount
	colValueCount
	colValueSum
	colValueMin
	colValueMax
)

// columnNames are those of the schema.
var columnNames = []string{
	"partition", "type", "key", "title", "owner", "start", "event_count", "value_count", "value_sum", "value_min", "value_max",
}

// manyRowsAKey and fewRowsAKey are the two forms of the schema: they differ in the encoding of what belongs to a key.
type manyRowsAKey struct {
	Partition  int32    `parquet:"partition,dict"`
	Type       string   `parquet:"type,dict"`
	Key        string   `parquet:"key,dict"`
	Title      string   `parquet:"title,optional,dict"`
	Owner      string   `parquet:"owner,optional,dict"`
	Start      int64    `parquet:"start,delta,timestamp(microsecond:local)"`
	EventCount int64    `parquet:"event_count,delta"`
	ValueCount int64    `parquet:"value_count,optional,delta"`
	ValueSum   [16]byte `parquet:"value_sum,optional,decimal(0:38)"`
	ValueMin   int64    `parquet:"value_min,optional,delta"`
	ValueMax   int64    `parquet:"value_max,optional,delta"`
}

type fewRowsAKey struct {
	Partition  int32    `parquet:"partition,dict"`
	Type       string   `parquet:"type,dict"`
	Key        string   `parquet:"key,delta"`
	Title      string   `parquet:"title,optional,delta"`
	Owner      string   `parquet:"owner,optional,dict"`
	Start      int64    `parquet:"start,delta,timestamp(microsecond:local)"`
	EventCount int64    `parquet:"event_count,delta"`
	ValueCount int64    `parquet:"value_count,optional,delta"`
	ValueSum   [16]byte `parquet:"value_sum,optional,decimal(0:38)"`
	ValueMin   int64    `parquet:"value_min,optional,delta"`
	ValueMax   int64    `parquet:"value_max,optional,delta"`
}

var (
	schemaOfMany = parquet.SchemaOf(manyRowsAKey{})
	schemaOfFew  = parquet.SchemaOf(fewRowsAKey{})
)

// options are a new file's.
func options(schema *parquet.Schema, meta Meta) []parquet.WriterOption {
	return []parquet.WriterOption{
		schema,
		parquet.BloomFilters(parquet.SplitBlockFilter(bloomBits, columnNames[colKey])),
		parquet.SortingWriterConfig(parquet.SortingColumns(
			parquet.Ascending(columnNames[colType]), parquet.Ascending(columnNames[colKey]),
			parquet.Ascending(columnNames[colStart]), parquet.Ascending(columnNames[colPartition]),
		)),
		parquet.KeyValueMetadata("quipu.version", formatVersion),
		parquet.KeyValueMetadata("quipu.resolution", meta.Resolution),
		parquet.KeyValueMetadata("quipu.date", time.Unix(meta.Day*60, 0).UTC().Format(time.DateOnly)),
		parquet.KeyValueMetadata("quipu.cluster", meta.Cluster),
		parquet.KeyValueMetadata("quipu.shard", meta.Shard),
	}
}

// readMeta reads what options wrote.
func readMeta(file *parquet.File) (Meta, error) {
	entry := func(name string) string {
		value, _ := file.Lookup(name)
		return value
	}
	if version := entry("quipu.version"); version != formatVersion {
		return Meta{}, fmt.Errorf("%w: its version is %q, not %s", ErrDamaged, version, formatVersion)
	}
	day, err := time.Parse(time.DateOnly, entry("quipu.date"))
	if err != nil {
		return Meta{}, fmt.Errorf("%w: its date is %q", ErrDamaged, entry("quipu.date"))
	}
	meta := Meta{Resolution: entry("quipu.resolution"), Day: day.Unix() / 60, Cluster: entry("quipu.cluster"), Shard: entry("quipu.shard")}
	if err := meta.check(); err != nil {
		return Meta{}, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return meta, nil
}
