package rawfile

import (
	"fmt"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/pages"
	"github.com/quipudb/quipu/event"
)

const formatVersion = "1"

// The columns, in the order of the schema.
const (
	colPartition = iota
	colOffset
	colIndex
	colAppendTime
	colType
	colKey
	colID
	colFingerprint
	colTime
	colWeight
	colValue
)

var (
	columnNames = []string{
		"partition", "offset", "index", "append_time", "type", "key", "id", "id_fingerprint", "time", "weight", "value",
	}
	allColumns = []int{
		colPartition, colOffset, colIndex, colAppendTime, colType, colKey, colID, colFingerprint, colTime, colWeight, colValue,
	}
)

type columns struct {
	Partition   int32  `parquet:"partition,dict"`
	Offset      int64  `parquet:"offset,delta"`
	Index       int32  `parquet:"index,delta"`
	AppendTime  int64  `parquet:"append_time,delta,timestamp(millisecond:local)"`
	Type        string `parquet:"type,dict"`
	Key         string `parquet:"key,dict"`
	ID          string `parquet:"id,optional,delta"`
	Fingerprint uint64 `parquet:"id_fingerprint,optional"`
	Time        int64  `parquet:"time,delta,timestamp(millisecond:local)"`
	Weight      int64  `parquet:"weight,delta"`
	Value       int64  `parquet:"value,optional,delta"`
}

var schema = parquet.SchemaOf(columns{})

func options(name Name, cluster string) []parquet.WriterOption {
	return []parquet.WriterOption{
		schema,
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending(columnNames[colOffset]), parquet.Ascending(columnNames[colIndex]))),
		parquet.KeyValueMetadata("quipu.version", formatVersion),
		parquet.KeyValueMetadata("quipu.cluster", cluster),
		parquet.KeyValueMetadata("quipu.partition", strconv.Itoa(name.Partition)),
		parquet.KeyValueMetadata("quipu.incarnation", name.Incarnation),
		parquet.KeyValueMetadata("quipu.first", strconv.FormatUint(name.First, 10)),
		parquet.KeyValueMetadata("quipu.next", strconv.FormatUint(name.Next, 10)),
	}
}

// Row is an event at its place in the log.
type Row struct {
	Offset       uint64
	Index        int // in the batch
	AppendTimeMs int64
	Fingerprint  uint64 // 0: no id
	event.Event         // without id, ID is empty
}

// checkMeta compares what a file says of itself with its name.
func checkMeta(file *pages.File, name Name) error {
	for key, want := range map[string]string{
		"quipu.version":     formatVersion,
		"quipu.partition":   strconv.Itoa(name.Partition),
		"quipu.incarnation": name.Incarnation,
		"quipu.first":       strconv.FormatUint(name.First, 10),
		"quipu.next":        strconv.FormatUint(name.Next, 10),
	} {
		if got, _ := file.Parquet.Lookup(key); got != want {
			return fmt.Errorf("%w: its %s is %q, not %q", ErrDamaged, key, got, want)
		}
	}
	return nil
}
