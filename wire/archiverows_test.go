package wire_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

func archiveRow(partition int, key, kind string, minute, count int64) wire.ArchiveRow {
	row := wire.ArchiveRow{Partition: partition, Row: event.Row{Type: kind, Key: key, Minute: minute, Aggregate: event.NewAggregate()}}
	row.Count = count
	return row
}

func someArchiveRows() *wire.ArchiveRows {
	measured := archiveRow(65535, "v2", "watch", event.MaxMinute, -7)
	measured.Title, measured.Owner = "Cats – a film", "ann"
	measured.AddEvent(3, -event.MaxValue, true)
	measured.Sum = event.Sum{Hi: -5, Lo: 1 << 63}
	later := measured
	later.Minute--
	return &wire.ArchiveRows{NextKey: 1<<64 - 1, Rows: []wire.ArchiveRow{
		archiveRow(0, "v1", "view", 0, 1), archiveRow(0, "v1", "like", 5, 1<<62), archiveRow(1, "v1", "view", 5, -1), measured, later, archiveRow(0, "v1", "view", 1, 0),
	}}
}

func TestArchiveRowsSurvive(t *testing.T) {
	for name, rows := range map[string]*wire.ArchiveRows{"some": someArchiveRows(), "none": {Rows: []wire.ArchiveRow{}}} {
		got, err := wire.DecodeArchiveRows(wire.EncodeArchiveRows([]byte("before"), rows)[6:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Every damaged byte and every cut is noticed.
func TestDamagedArchiveRowsAreRefused(t *testing.T) {
	whole := wire.EncodeArchiveRows(nil, someArchiveRows())
	refused := func(what string, data []byte) {
		if got, err := wire.DecodeArchiveRows(data); wire.CodeOf(err) != wire.CodeBadRequest {
			t.Errorf("%s: got %+v, %v; want %s", what, got, err, wire.CodeBadRequest)
		}
	}
	for i := range whole {
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 0x40
		refused(fmt.Sprint("byte ", i), damaged)
		refused(fmt.Sprint("cut at ", i), whole[:i])
		refused(fmt.Sprint("cut and summed at ", i), summed(whole[:min(i, len(whole)-5)]))
	}
	refused("too long", summed(append(append([]byte(nil), whole[:len(whole)-4]...), 0)))
}

// summed appends the right checksum.
func summed(data []byte) []byte {
	data = append([]byte(nil), data...)
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// FuzzArchiveRowsDecode feeds arbitrary bytes with a right checksum. What is accepted must survive another round.
func FuzzArchiveRowsDecode(f *testing.F) {
	whole := wire.EncodeArchiveRows(nil, someArchiveRows())
	f.Add(whole[:len(whole)-4])
	f.Add([]byte("QAR1\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := wire.DecodeArchiveRows(summed(data))
		if err != nil {
			return
		}
		again, err := wire.DecodeArchiveRows(wire.EncodeArchiveRows(nil, rows))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, again); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkArchiveRows(b *testing.B) {
	rows := &wire.ArchiveRows{}
	for i := range 100_000 {
		row := archiveRow(i%8, fmt.Sprint("video-", i/10), "view", 29_000_000+int64(i%1440), int64(i))
		if i%2 == 0 {
			row.AddEvent(1, int64(i), true)
		}
		rows.Rows = append(rows.Rows, row)
	}
	data := wire.EncodeArchiveRows(nil, rows)
	per := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows.Rows)), "ns/row")
		b.ReportMetric(float64(len(data))/float64(len(rows.Rows)), "bytes/row")
	}
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			data = wire.EncodeArchiveRows(data[:0], rows)
		}
		per(b)
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := wire.DecodeArchiveRows(data); err != nil {
				b.Fatal(err)
			}
		}
		per(b)
	})
}
