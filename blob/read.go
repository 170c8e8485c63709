package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"
)

// ReadRange fills p with an object's bytes from an offset. An object that ends before is ErrDamaged: the caller knows its size from where
// its name was.
func (s *Store) ReadRange(ctx context.Context, name string, p []byte, offset int64) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := s.request(ctx, "read", name, s.timeout, func(ctx context.Context) error {
		// The library tries again what it could not begin; a connection that breaks in the middle is left to us.
		var err error
		for range attempts {
			if err = s.readRange(ctx, name, p, offset); !errors.Is(err, errBroken) || ctx.Err() != nil {
				return err
			}
		}
		return err
	})
	if err == nil {
		s.metrics.read.Add(float64(len(p)))
	}
	return err
}

var errBroken = errors.New("the answer broke off")

func (s *Store) readRange(ctx context.Context, name string, p []byte, offset int64) error {
	reader, err := s.bucket.NewRangeReader(ctx, name, offset, int64(len(p)), nil)
	if err != nil {
		return err
	}
	defer reader.Close()
	if reader.Size() < offset+int64(len(p)) {
		return fmt.Errorf("%w: it has %d bytes, want %d from %d", ErrDamaged, reader.Size(), len(p), offset)
	}
	if n, err := io.ReadFull(reader, p); err != nil {
		return fmt.Errorf("%w: %d of %d bytes: %v", errBroken, n, len(p), err)
	}
	return nil
}

// Download copies an object to w and returns what it was. An error of w is returned as it is. What w got before an error is not to
// be used.
func (s *Store) Download(ctx context.Context, name string, w io.Writer) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	sum := &summing{to: w, hash: sha256.New()}
	err := s.request(ctx, "download", name, s.transfer, func(ctx context.Context) error {
		reader, err := s.bucket.NewReader(ctx, name, nil)
		if err != nil {
			return err
		}
		defer reader.Close()
		_, err = io.Copy(sum, reader)
		if sum.failed != nil {
			return callerError{sum.failed}
		}
		if err == nil && sum.bytes != reader.Size() {
			err = fmt.Errorf("%d of %d bytes: %w", sum.bytes, reader.Size(), errBroken)
		}
		return err
	})
	if err != nil {
		return Info{}, err
	}
	s.metrics.read.Add(float64(sum.bytes))
	return sum.info(), nil
}

// Check downloads an object, to nowhere, and compares it with what was uploaded. A difference is ErrDamaged.
func (s *Store) Check(ctx context.Context, name string, want Info) error {
	got, err := s.Download(ctx, name, io.Discard)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("check %s: %w: it has %d bytes with SHA-256 %s, want %d with %s", name, ErrDamaged, got.Bytes, got.SHA256, want.Bytes, want.SHA256)
	}
	return nil
}

// Attributes are what a store knows of an object.
type Attributes struct {
	Name     string
	Bytes    int64
	Modified time.Time // when it was uploaded, by the store's clock
}

// Attributes asks for one object.
func (s *Store) Attributes(ctx context.Context, name string) (Attributes, error) {
	if err := CheckName(name); err != nil {
		return Attributes{}, err
	}
	var found Attributes
	err := s.request(ctx, "attributes", name, s.timeout, func(ctx context.Context) error {
		a, err := s.bucket.Attributes(ctx, name)
		if err == nil {
			found = Attributes{Name: name, Bytes: a.Size, Modified: a.ModTime}
		}
		return err
	})
	return found, err
}

// Delete removes an object. One that is not there is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := s.request(ctx, "delete", name, s.timeout, func(ctx context.Context) error { return s.bucket.Delete(ctx, name) })
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
