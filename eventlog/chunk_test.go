package eventlog_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/quipudb/quipu/eventlog"
	"pgregory.net/rapid"
)

func record(offset uint64, data string) eventlog.Record {
	return eventlog.Record{
		Offset: offset, AppendTime: int64(offset) * 1000, Checksum: crc32.Checksum([]byte(data), crc32.MakeTable(crc32.Castagnoli)), Data: []byte(data),
	}
}

func TestChunkRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := eventlog.Chunk{
			Next: rapid.Uint64().Draw(t, "next"), End: rapid.Uint64().Draw(t, "end"), AsOf: rapid.Int64().Draw(t, "as-of"),
			Incarnation: rapid.StringN(0, 60, 255).Draw(t, "incarnation"), Records: []eventlog.Record{},
		}
		for _, data := range rapid.SliceOfN(rapid.String(), 0, 5).Draw(t, "data") {
			want.Records = append(want.Records, record(rapid.Uint64().Draw(t, "offset"), data))
		}
		data := eventlog.AppendChunk([]byte("kept"), &want)[4:]
		if got := eventlog.ChunkBytes(&want); got != len(data) {
			t.Fatalf("got a size of %d, want %d", got, len(data))
		}
		got, err := eventlog.DecodeChunk(data)
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
			t.Fatalf("chunk differs (-want +got):\n%s", diff)
		}
	})
}

func TestChunkRefusesEveryFlipAndCut(t *testing.T) {
	chunk := eventlog.Chunk{Next: 3, End: 9, AsOf: 77, Incarnation: "abc", Records: []eventlog.Record{record(1, "one"), record(2, "second")}}
	good := eventlog.AppendChunk(nil, &chunk)
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 0x20
		if _, err := eventlog.DecodeChunk(bad); !errors.Is(err, eventlog.ErrChunk) {
			t.Errorf("byte %d: got %v, want ErrChunk", at, err)
		}
		if _, err := eventlog.DecodeChunk(good[:at]); !errors.Is(err, eventlog.ErrChunk) {
			t.Errorf("%d bytes: got %v, want ErrChunk", at, err)
		}
	}
}

func FuzzChunkDecode(f *testing.F) {
	f.Add(eventlog.AppendChunk(nil, &eventlog.Chunk{}))
	f.Add(eventlog.AppendChunk(nil, &eventlog.Chunk{Next: 2, End: 2, AsOf: 5, Incarnation: "abc", Records: []eventlog.Record{record(1, "one")}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := eventlog.DecodeChunk(data)
		if err != nil {
			return
		}
		if again := eventlog.AppendChunk(nil, &c); !bytes.Equal(again, data) {
			t.Fatalf("got %x after decoding %x", again, data)
		}
	})
}
