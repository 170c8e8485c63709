package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob"
)

// conformance is what every kind of store must do.
var conformance = []struct {
	name string
	test func(*testing.T, *blob.Store)
}{
	{"what is uploaded comes back", testComesBack},
	{"an existing name is refused", testNoOverwriting},
	{"a failed upload leaves nothing", testFailedUpload},
	{"ranges", testRanges},
	{"listing", testListing},
	{"deleting", testDeleting},
	{"names", testNames},
	{"missing objects", testMissing},
	{"the end of the context", testContext},
	{"probe", func(t *testing.T, s *blob.Store) {
		if err := s.Probe(t.Context()); err != nil {
			t.Error(err)
		}
	}},
}

func content(size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(data)
	return data
}

func put(t testing.TB, s *blob.Store, name string, data []byte) blob.Info {
	t.Helper()
	info, err := s.Upload(t.Context(), name, func(w io.Writer) error {
		for part := range slices.Chunk(data, 100_000) {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func testComesBack(t *testing.T, s *blob.Store) {
	for _, size := range []int{0, 1, 1 << 20, 20 << 20} { // the last is uploaded in parts
		name, data := fmt.Sprintf("a/of-%d", size), content(size)
		sum := sha256.Sum256(data)
		want := blob.Info{Bytes: int64(size), SHA256: hex.EncodeToString(sum[:])}
		if got := put(t, s, name, data); got != want {
			t.Errorf("%s: uploaded %+v, want %+v", name, got, want)
		}
		var back bytes.Buffer
		if got, err := s.Download(t.Context(), name, &back); err != nil || got != want || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("%s: downloaded %+v, %v; want %+v", name, got, err, want)
		}
		if err := s.Check(t.Context(), name, want); err != nil {
			t.Error(err)
		}
		other := want
		other.SHA256 = other.SHA256[2:] + "00"
		if err := s.Check(t.Context(), name, other); !errors.Is(err, blob.ErrDamaged) {
			t.Errorf("%s: checked against another hash: got %v, want ErrDamaged", name, err)
		}
		attributes, err := s.Attributes(t.Context(), name)
		if err != nil || attributes.Name != name || attributes.Bytes != int64(size) || attributes.Modified.IsZero() {
			t.Errorf("got %+v, %v", attributes, err)
		}
	}
}

func testNoOverwriting(t *testing.T, s *blob.Store) {
	for _, size := range []int{1000, 12 << 20} {
		name, first := fmt.Sprintf("b/of-%d", size), content(size)
		put(t, s, name, first)
		_, err := s.Upload(t.Context(), name, func(w io.Writer) error { _, err := w.Write(content(size + 1)); return err })
		if !errors.Is(err, blob.ErrExists) {
			t.Errorf("got %v, want ErrExists", err)
		}
		checkContent(t, s, name, first)

		// Two at the same time: one wins.
		name += "-raced"
		var wait sync.WaitGroup
		errs, begun := make([]error, 2), make(chan struct{}, 2)
		for i := range errs {
			wait.Go(func() {
				_, errs[i] = s.Upload(t.Context(), name, func(w io.Writer) error {
					begun <- struct{}{}
					for len(begun) < 2 {
						if t.Context().Err() != nil {
							return t.Context().Err()
						}
					}
					_, err := w.Write(first)
					return err
				})
			})
		}
		wait.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), blob.ErrExists) {
			t.Errorf("two uploads of one name: got %v", errs)
		}
	}
}

func checkContent(t *testing.T, s *blob.Store, name string, want []byte) {
	t.Helper()
	var back bytes.Buffer
	if _, err := s.Download(t.Context(), name, &back); err != nil || !bytes.Equal(back.Bytes(), want) {
		t.Errorf("%s: %d bytes, %v; want %d bytes", name, back.Len(), err, len(want))
	}
}

func testFailedUpload(t *testing.T, s *blob.Store) {
	for _, size := range []int{0, 1000, 12 << 20} {
		name, failure := fmt.Sprintf("c/of-%d", size), errors.New("the source failed")
		_, err := s.Upload(t.Context(), name, func(w io.Writer) error {
			if _, err := w.Write(content(size)); err != nil {
				return err
			}
			return failure
		})
		if !errors.Is(err, failure) || errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("got %v, want the source's error", err)
		}
		if _, err := s.Attributes(t.Context(), name); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("after the failure: got %v, want ErrNotFound", err)
		}
	}
	for attributes, err := range s.List(t.Context(), "") {
		if err != nil || attributes.Name[0] == 'c' {
			t.Errorf("left behind: %+v, %v", attributes, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Upload(ctx, "c/cancelled", func(w io.Writer) error {
		cancel()
		_, err := w.Write(content(1000))
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := s.Attributes(t.Context(), "c/cancelled"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("after the cancelling: got %v, want ErrNotFound", err)
	}
}

func testRanges(t *testing.T, s *blob.Store) {
	data := content(3_000_000)
	put(t, s, "d/ranged", data)
	random := rand.New(rand.NewPCG(1, 2))
	for _, cfg := range []blob.ReaderConfig{{}, {BlockBytes: 1 << 16, Blocks: 3}} {
		reader := s.Reader(t.Context(), "d/ranged", int64(len(data)), cfg)
		for range 100 {
			offset := random.IntN(len(data))
			p := make([]byte, 1+random.IntN(400_000))
			want := data[offset:min(offset+len(p), len(data))]
			n, err := reader.ReadAt(p, int64(offset))
			if !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) || err != nil && err != io.EOF {
				t.Fatalf("%d bytes at %d: got %d, %v; want %d", len(p), offset, n, err, len(want))
			}
		}
		if n, err := reader.ReadAt(make([]byte, 1), int64(len(data))); n != 0 || err != io.EOF {
			t.Errorf("behind the end: got %d, %v", n, err)
		}
	}
	for _, offset := range []int64{int64(len(data)) - 5, int64(len(data)), int64(len(data)) + 100} {
		if err := s.ReadRange(t.Context(), "d/ranged", make([]byte, 10), offset); !errors.Is(err, blob.ErrDamaged) {
			t.Errorf("more than there is, at %d: got %v, want ErrDamaged", offset, err)
		}
	}
}

func testListing(t *testing.T, s *blob.Store) {
	var want []string
	for i := range 30 {
		name := fmt.Sprintf("e/x=%d/%02d", i%3, i)
		put(t, s, name, content(i))
		if i%3 == 1 {
			want = append(want, name)
		}
	}
	put(t, s, "ee", nil)
	var got []string
	for attributes, err := range s.List(t.Context(), "e/x=1/") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, attributes.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for range s.List(t.Context(), "e/") {
		break
	}
	for attributes, err := range s.List(t.Context(), "nothing/") {
		t.Errorf("got %+v, %v", attributes, err)
	}
}

func testDeleting(t *testing.T, s *blob.Store) {
	put(t, s, "f/gone", content(10))
	for range 2 {
		if err := s.Delete(t.Context(), "f/gone"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Attributes(t.Context(), "f/gone"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func testNames(t *testing.T, s *blob.Store) {
	for _, name := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", ".uploads/x", "a b", "a\\b", "ü", "a\x00", string(make([]byte, 600))} {
		_, uploading := s.Upload(t.Context(), name, func(io.Writer) error { return nil })
		_, asking := s.Attributes(t.Context(), name)
		_, downloading := s.Download(t.Context(), name, io.Discard)
		for _, err := range []error{uploading, asking, downloading, s.Delete(t.Context(), name), s.ReadRange(t.Context(), name, nil, 0)} {
			if !errors.Is(err, blob.ErrName) {
				t.Errorf("%q: got %v, want ErrName", name, err)
			}
		}
	}
}

func testMissing(t *testing.T, s *blob.Store) {
	_, asking := s.Attributes(t.Context(), "g/missing")
	_, downloading := s.Download(t.Context(), "g/missing", io.Discard)
	for _, err := range []error{asking, downloading, s.ReadRange(t.Context(), "g/missing", make([]byte, 1), 0)} {
		if !errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	}
}

func testContext(t *testing.T, s *blob.Store) {
	put(t, s, "h/there", content(10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, asking := s.Attributes(ctx, "h/there")
	_, downloading := s.Download(ctx, "h/there", io.Discard)
	var listing error
	for _, listing = range s.List(ctx, "h/") {
	}
	for _, err := range []error{asking, downloading, listing, s.ReadRange(ctx, "h/there", make([]byte, 1), 0)} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("got %v, want cancelled", err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, good := range []string{"/tmp/x", "cold", "file:///tmp/x", "s3://bucket", "s3://bucket?prefix=a/b&region=eu-1&endpoint=http://127.0.0.1:1&profile=p"} {
		if err := blob.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "gs://bucket", "s3://", "s3://key:secret@bucket", "s3://bucket/path", "s3://bucket?perfix=x", "s3://bucket?prefix=../x",
		"s3://bucket?endpoint=127.0.0.1:1", "file://host/x", "file:///x?create_dir=1", "s3://bucket?region=a&region=b",
	} {
		if err := blob.CheckURL(bad); !errors.Is(err, blob.ErrAddress) {
			t.Errorf("%s: got %v, want ErrAddress", bad, err)
		}
	}
}
