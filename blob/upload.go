package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"gocloud.dev/blob"
)

// Info is what was written to an object or read of it.
type Info struct {
	Bytes  int64
	SHA256 string // hex
}

const (
	partBytes    = 8 << 20
	partsAtATime = 2
)

// Upload writes an object as a stream. It fails with ErrExists if there is one of that name, with write's own error if write fails,
// else with ErrUnavailable; in each case there is nothing to read under the name that was not there before. Only after an ErrUnavailable, or
// at the end of the context, may an object be there all the same, whole: its acknowledgement was lost.
//
// An upload to S3 whose acknowledgement was lost and that is tried again meets its own object and fails with ErrExists. Go on under another name.
func (s *Store) Upload(ctx context.Context, name string, write func(io.Writer) error) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	sum := &summing{hash: sha256.New()}
	err := s.request(ctx, "upload", name, s.transfer, func(ctx context.Context) error {
		summed := func(w io.Writer) error {
			sum.to = w
			if err := write(sum); err != nil {
				if sum.failed != nil {
					return sum.failed
				}
				return callerError{err}
			}
			return sum.failed
		}
		if s.folder != nil {
			return s.folder.upload(ctx, name, summed)
		}
		return s.uploadToBucket(ctx, name, summed)
	})
	if err != nil {
		return Info{}, err
	}
	s.metrics.written.Add(float64(sum.bytes))
	return sum.info(), nil
}

func (s *Store) uploadToBucket(ctx context.Context, name string, write func(io.Writer) error) error {
	// For servers that ignore the precondition.
	if exists, err := s.bucket.Exists(ctx, name); err != nil || exists {
		if err == nil {
			err = ErrExists
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	writer, err := s.bucket.NewWriter(ctx, name, &blob.WriterOptions{
		ContentType: "application/octet-stream", IfNotExist: true,
		BufferSize: partBytes, MaxConcurrency: partsAtATime,
	})
	if err != nil {
		return err
	}
	if err := write(writer); err != nil {
		cancel() // else Close would complete what was written so far
		_ = writer.Close()
		return err
	}
	return writer.Close()
}

// summing passes bytes on and remembers what they were.
type summing struct {
	to     io.Writer
	hash   hash.Hash
	bytes  int64
	failed error // of to
}

func (s *summing) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.hash.Write(p[:n])
	s.bytes += int64(n)
	if err != nil {
		s.failed = err
		return n, fmt.Errorf("write object: %w", err)
	}
	return n, nil
}

func (s *summing) info() Info {
	return Info{Bytes: s.bytes, SHA256: hex.EncodeToString(s.hash.Sum(nil))}
}
