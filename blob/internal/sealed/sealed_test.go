package sealed_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/quipudb/quipu/blob/internal/sealed"
)

// seal makes a file of a body and a tail as a Parquet writer would: the seal's value is somewhere in the tail.
func seal(t *testing.T, body int, tail string) (file, content []byte) {
	t.Helper()
	content = make([]byte, body)
	rand.NewChaCha8([32]byte{1}).Read(content)
	var out bytes.Buffer
	writer := sealed.NewWriter(&out)
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 1+len(rest)/3)
		if _, err := writer.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	value := writer.Seal()
	for _, part := range []string{tail, value, "the end"} {
		if _, err := io.WriteString(writer, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), content
}

func TestEveryRangeOfTheBodyIsReadAndChecked(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, sealed.BlockBytes, 5*sealed.BlockBytes + 17} {
		file, content := seal(t, size, "quipu-seal:1: in somebody's key")
		opened, tail, err := sealed.Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if opened.Body != int64(size) || len(tail) != len(file)-size {
			t.Errorf("got a body of %d and a tail of %d, want %d of %d", opened.Body, len(tail), size, len(file))
		}
		for range 100 {
			offset, p := random.IntN(size+1), make([]byte, random.IntN(2*sealed.BlockBytes))
			spoiled := bytes.Clone(file)
			at := random.IntN(size + 1)
			flipped := at < size
			if flipped {
				spoiled[at] ^= 0x10
			}
			n, err := opened.Reader(bytes.NewReader(spoiled)).ReadAt(p, int64(offset))
			switch {
			case errors.Is(err, sealed.ErrDamaged):
				if !flipped {
					t.Fatalf("%d bytes at %d of %d: %v", len(p), offset, size, err)
				}
			case err != nil && err != io.EOF, !bytes.Equal(p[:n], content[offset:min(offset+len(p), size)]):
				t.Fatalf("%d bytes at %d of %d, one flipped at %d: got %d, %v", len(p), offset, size, at, n, err)
			}
		}
	}
}

func TestLongTailsAreFound(t *testing.T) {
	for _, length := range []int{0, 255 << 10, 257 << 10, 3 << 20} {
		file, _ := seal(t, 100_000, string(make([]byte, length)))
		opened, tail, err := sealed.Open(bytes.NewReader(file), int64(len(file)))
		if err != nil || opened.Body != 100_000 || len(tail) != len(file)-100_000 {
			t.Errorf("a tail of %d: got %+v, %v", length, opened, err)
		}
		for _, at := range []int{len(file) - 1, len(file) - 20, 100_000, 100_000 + length/2} {
			spoiled := bytes.Clone(file)
			spoiled[at] ^= 1
			if _, _, err := sealed.Open(bytes.NewReader(spoiled), int64(len(file))); !errors.Is(err, sealed.ErrDamaged) {
				t.Errorf("a tail of %d, byte %d flipped: got %v, want ErrDamaged", length, at, err)
			}
		}
	}
}

func TestWithoutASealNothingIsOpened(t *testing.T) {
	for _, file := range [][]byte{nil, []byte("PAR1"), make([]byte, 1<<20), []byte("quipu-seal:1:"), []byte("quipu-seal:1:ffffffffffffffff:00000000:")} {
		if _, _, err := sealed.Open(bytes.NewReader(file), int64(len(file))); !errors.Is(err, sealed.ErrDamaged) {
			t.Errorf("%.40q: got %v, want ErrDamaged", file, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("quipu-seal:1:0000000000000000:00000000:"))
	f.Fuzz(func(t *testing.T, file []byte) {
		opened, _, err := sealed.Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, io.NewSectionReader(opened.Reader(bytes.NewReader(file)), 0, opened.Body))
	})
}
