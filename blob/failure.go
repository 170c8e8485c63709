package blob

import (
	"context"
	"errors"
	"fmt"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// What an operation can fail with, besides the end of the caller's context and the error of the caller's own function.
var (
	ErrNotFound    = errors.New("no such object")
	ErrExists      = errors.New("object exists already")
	ErrUnavailable = errors.New("cold storage is unavailable")
	ErrDamaged     = errors.New("object is damaged")
	ErrName        = errors.New("not a name of an object")
	ErrAddress     = errors.New("not an address of cold storage")
)

// callerError is an error that the caller's own function returned: passed on as it is.
type callerError struct{ err error }

func (e callerError) Error() string { return e.err.Error() }

// meaning turns an error of the library into one of ours. The library's own error is kept as text only, so that no deadline of ours
// is taken for the caller's.
func (s *Store) meaning(ctx context.Context, operation, name string, err error) error {
	if err == nil {
		return nil
	}
	var own callerError
	if errors.As(err, &own) {
		return fmt.Errorf("%s %s: %w", operation, name, own.err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", operation, name, context.Cause(ctx))
	}
	for _, known := range []error{ErrNotFound, ErrExists, ErrUnavailable, ErrDamaged, ErrName} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s %s: %w", operation, name, err)
		}
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		// A bucket that is not there, or a folder that is not mounted, has no objects either. That is no loss of an object.
		if absent := s.present(ctx); absent != nil {
			return fmt.Errorf("%s %s: %w: %v", operation, name, ErrUnavailable, absent)
		}
		return fmt.Errorf("%s %s: %w", operation, name, ErrNotFound)
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%s %s: %w", operation, name, ErrExists)
	}
	if beyondTheEnd(err) {
		return fmt.Errorf("%s %s: %w: it is shorter than it was: %v", operation, name, ErrDamaged, err)
	}
	return fmt.Errorf("%s %s: %w: %v", operation, name, ErrUnavailable, err)
}

func (s *Store) present(ctx context.Context) error {
	if s.folder != nil {
		return s.folder.present()
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, _, err := s.bucket.ListPage(ctx, blob.FirstPageToken, 1, nil)
	return err
}
