// Package eventlogtest is the conformance suite of the event log: every implementation of the port, and every way to reach one, must
// pass it.
package eventlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quipudb/quipu/eventlog"
)

// Partitions is how many partitions the log under test must have.
const Partitions = 3

// Log is an open, empty log under test. Reader may reach it another way than Appender and Trimmer do.
type Log struct {
	Appender eventlog.Appender
	Reader   eventlog.Reader
	Trimmer  eventlog.Trimmer
}

// Run runs the suite. open returns a fresh log of Partitions partitions whose segments are so small that a few records of 1 KiB fill one.
func Run(t *testing.T, open func(t *testing.T) Log) {
	tests := []struct {
		name string
		run  func(*testing.T, suite)
	}{
		{"an empty partition", testEmpty},
		{"append and read", testAppendRead},
		{"partitions are apart", testPartitionsApart},
		{"chunks are bounded", testChunks},
		{"what is read belongs to the reader", testOwnership},
		{"waiting ends with an append", testWaitWakes},
		{"waiting ends in time", testWaitEnds},
		{"waiting ends with its context", testWaitCancelled},
		{"as-of holds beside appends", testAsOf},
		{"seek", testSeek},
		{"trim", testTrim},
		{"bounds of arguments", testArguments},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, suite{T: t, log: open(t)}) })
	}
}

type suite struct {
	*testing.T
	log Log
}

func (s suite) append(partition int, data string) eventlog.Record {
	s.Helper()
	r, err := s.log.Appender.Append(s.Context(), partition, []byte(data))
	if err != nil {
		s.Fatalf("append to partition %d: %v", partition, err)
	}
	if want := crc32.Checksum([]byte(data), crc32.MakeTable(crc32.Castagnoli)); r.Checksum != want {
		s.Fatalf("got checksum %x, want %x", r.Checksum, want)
	}
	return r
}

func (s suite) read(partition int, from uint64) eventlog.Chunk {
	s.Helper()
	c, err := s.log.Reader.Read(s.Context(), partition, from, 1<<20, 0)
	if err != nil {
		s.Fatalf("read partition %d from %d: %v", partition, from, err)
	}
	return c
}

// all reads a partition to its end in as many chunks as it takes.
func (s suite) all(partition int, from uint64) []eventlog.Record {
	s.Helper()
	var out []eventlog.Record
	for {
		c := s.read(partition, from)
		if len(c.Records) == 0 {
			return out
		}
		out = append(out, c.Records...)
		from = c.Next
	}
}

func (s suite) bounds(partition int) eventlog.Bounds {
	s.Helper()
	b, err := s.log.Reader.Bounds(s.Context(), partition)
	if err != nil {
		s.Fatalf("bounds of partition %d: %v", partition, err)
	}
	return b
}

func testEmpty(t *testing.T, s suite) {
	b := s.bounds(0)
	if b.First != 1 || b.Next != 1 || b.Incarnation == "" {
		t.Errorf("got bounds %+v, want offsets from 1 to 1 and an incarnation", b)
	}
	c := s.read(0, 1)
	if len(c.Records) != 0 || c.Next != 1 || c.End != 1 || c.Incarnation != b.Incarnation || c.AsOf <= 0 {
		t.Errorf("got chunk %+v, want an empty one at offset 1 with a clock", c)
	}
	if at, err := s.log.Reader.Seek(t.Context(), 0, 0); err != nil || at != 1 {
		t.Errorf("got offset %d, %v from seeking, want 1", at, err)
	}
}

func testAppendRead(t *testing.T, s suite) {
	var want []eventlog.Record
	for i := range 40 {
		data := bytes.Repeat([]byte{byte(i)}, i*40)
		r := s.append(1, string(data))
		if r.Offset != uint64(i+1) {
			t.Fatalf("got offset %d, want %d", r.Offset, i+1)
		}
		r.Data = data
		want = append(want, r)
	}
	got := s.all(1, 1)
	if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("records differ (-want +got):\n%s", diff)
	}
	for i := 1; i < len(got); i++ {
		if got[i].AppendTime < got[i-1].AppendTime {
			t.Errorf("append time of %d steps back", got[i].Offset)
		}
	}
	if b := s.bounds(1); b.First != 1 || b.Next != 41 || b.Bytes < 40*39/2*40 {
		t.Errorf("got bounds %+v", b)
	}
}

func testPartitionsApart(t *testing.T, s suite) {
	s.append(0, "a")
	s.append(2, "b")
	s.append(2, "c")
	for partition, want := range []string{"a", "", "bc"} {
		var got string
		for _, r := range s.all(partition, 1) {
			got += string(r.Data)
		}
		if got != want {
			t.Errorf("partition %d: got %q, want %q", partition, got, want)
		}
	}
}

func testChunks(t *testing.T, s suite) {
	for range 5 {
		s.append(0, string(make([]byte, 100)))
	}
	for _, test := range []struct{ limit, want int }{{0, 1}, {1, 1}, {100, 1}, {199, 1}, {200, 2}, {350, 3}, {1 << 20, 5}} {
		c, err := s.log.Reader.Read(t.Context(), 0, 1, test.limit, 0)
		if err != nil || len(c.Records) != test.want || c.Next != uint64(test.want)+1 || c.End != 6 {
			t.Errorf("limit %d: got %d records, next %d, end %d, %v, want %d records", test.limit, len(c.Records), c.Next, c.End, err, test.want)
		}
	}
}

func testOwnership(t *testing.T, s suite) {
	batch := []byte("batch")
	if _, err := s.log.Appender.Append(t.Context(), 0, batch); err != nil {
		t.Fatal(err)
	}
	copy(batch, "spoil")
	copy(s.read(0, 1).Records[0].Data, "spoil")
	if got := string(s.read(0, 1).Records[0].Data); got != "batch" {
		t.Errorf("got %q, want %q", got, "batch")
	}
}

func testWaitWakes(t *testing.T, s suite) {
	s.append(0, "a")
	type result struct {
		chunk eventlog.Chunk
		err   error
	}
	done := make(chan result, 1)
	go func() {
		c, err := s.log.Reader.Read(t.Context(), 0, 2, 1<<20, time.Minute)
		done <- result{c, err}
	}()
	s.append(1, "elsewhere")
	s.append(0, "b")
	r := <-done
	if r.err != nil || len(r.chunk.Records) != 1 || string(r.chunk.Records[0].Data) != "b" {
		t.Errorf("got %+v, %v, want the record that was appended", r.chunk, r.err)
	}
}

func testWaitEnds(t *testing.T, s suite) {
	before := s.read(0, 1).AsOf
	c, err := s.log.Reader.Read(t.Context(), 0, 1, 1<<20, 20*time.Millisecond)
	if err != nil || len(c.Records) != 0 || c.Next != 1 {
		t.Errorf("got %+v, %v, want an empty chunk", c, err)
	}
	if c.AsOf < before {
		t.Errorf("as-of stepped back from %d to %d", before, c.AsOf)
	}
}

func testWaitCancelled(t *testing.T, s suite) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.log.Reader.Read(ctx, 0, 1, 1<<20, time.Minute)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// testAsOf checks what readers rely on: every batch appended strictly before a chunk's AsOf has an offset below its Next (INV-7).
func testAsOf(t *testing.T, s suite) {
	const appends = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range appends {
			if _, err := s.log.Appender.Append(t.Context(), 0, fmt.Append(nil, i)); err != nil {
				t.Errorf("append: %v", err)
			}
		}
	})
	var chunks []eventlog.Chunk
	for from := uint64(1); from <= appends; {
		c, err := s.log.Reader.Read(t.Context(), 0, from, 200, time.Second)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		chunks = append(chunks, c)
		from = c.Next
	}
	wg.Wait()
	records := s.all(0, 1)
	last := int64(0)
	for _, c := range chunks {
		if c.AsOf < last {
			t.Errorf("as-of stepped back from %d to %d", last, c.AsOf)
		}
		last = c.AsOf
		if c.Next <= appends && records[c.Next-1].AppendTime < c.AsOf {
			t.Errorf("record %d was appended at %d, before the as-of %d of a chunk that ends below it", c.Next, records[c.Next-1].AppendTime, c.AsOf)
		}
	}
}

func testSeek(t *testing.T, s suite) {
	for range 30 {
		s.append(0, string(make([]byte, 500)))
	}
	records := s.all(0, 1)
	for _, r := range records {
		for _, at := range []int64{r.AppendTime - 1, r.AppendTime, r.AppendTime + 1} {
			want := uint64(len(records) + 1)
			for i := len(records) - 1; i >= 0 && records[i].AppendTime >= at; i-- {
				want = records[i].Offset
			}
			if got, err := s.log.Reader.Seek(t.Context(), 0, at); err != nil || got != want {
				t.Errorf("seek %d: got %d, %v, want %d", at, got, err, want)
			}
		}
	}
}

func testTrim(t *testing.T, s suite) {
	for range 30 {
		s.append(0, string(make([]byte, 1000)))
	}
	before := s.bounds(0)
	for _, below := range []uint64{0, 1} {
		if err := s.log.Trimmer.Trim(t.Context(), 0, below); err != nil {
			t.Fatalf("trim below %d: %v", below, err)
		}
		if got := s.bounds(0); got != before {
			t.Fatalf("trim below %d: got bounds %+v, want %+v", below, got, before)
		}
	}
	if err := s.log.Trimmer.Trim(t.Context(), 0, 21); err != nil {
		t.Fatalf("trim: %v", err)
	}
	after := s.bounds(0)
	if after.First > 21 || after.Next != 31 || after.Bytes >= before.Bytes {
		t.Errorf("got bounds %+v after %+v", after, before)
	}
	if got := s.all(0, 21); len(got) != 10 || got[0].Offset != 21 {
		t.Errorf("got %d records from 21 on, want 10", len(got))
	}
	if after.First > 1 {
		if _, err := s.log.Reader.Read(t.Context(), 0, after.First-1, 1<<20, 0); !errors.Is(err, eventlog.ErrTrimmed) {
			t.Errorf("read what was trimmed: got %v, want ErrTrimmed", err)
		}
	}
	if err := s.log.Trimmer.Trim(t.Context(), 0, 1000); err != nil {
		t.Fatalf("trim all: %v", err)
	}
	if got := s.bounds(0); got.Next != 31 {
		t.Errorf("got bounds %+v after trimming all, want the next offset kept", got)
	}
	if r := s.append(0, "on"); r.Offset != 31 {
		t.Errorf("got offset %d, want 31", r.Offset)
	}
	if got := s.all(0, 31); len(got) != 1 || string(got[0].Data) != "on" {
		t.Errorf("got %+v from 31 on", got)
	}
}

func testArguments(t *testing.T, s suite) {
	s.append(0, "a")
	ctx := t.Context()
	for _, partition := range []int{-1, Partitions} {
		_, readErr := s.log.Reader.Read(ctx, partition, 1, 1, 0)
		_, seekErr := s.log.Reader.Seek(ctx, partition, 1)
		_, boundsErr := s.log.Reader.Bounds(ctx, partition)
		_, appendErr := s.log.Appender.Append(ctx, partition, nil)
		trimErr := s.log.Trimmer.Trim(ctx, partition, 1)
		for call, err := range map[string]error{"read": readErr, "seek": seekErr, "bounds": boundsErr, "append": appendErr, "trim": trimErr} {
			if !errors.Is(err, eventlog.ErrNoPartition) {
				t.Errorf("%s of partition %d: got %v, want ErrNoPartition", call, partition, err)
			}
		}
	}
	if _, err := s.log.Reader.Read(ctx, 0, 0, 1, 0); !errors.Is(err, eventlog.ErrTrimmed) {
		t.Errorf("read offset 0: got %v, want ErrTrimmed", err)
	}
	if _, err := s.log.Reader.Read(ctx, 0, 3, 1, time.Minute); !errors.Is(err, eventlog.ErrBeyondEnd) {
		t.Errorf("read beyond the end: got %v, want ErrBeyondEnd", err)
	}
	if _, err := s.log.Appender.Append(ctx, 0, make([]byte, eventlog.MaxBatchBytes+1)); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("append too much: got %v, want ErrTooLarge", err)
	}
	if r := s.append(0, ""); r.Offset != 2 {
		t.Errorf("got offset %d for an empty batch, want 2", r.Offset)
	}
}
