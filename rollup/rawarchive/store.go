package rawarchive

import (
	"context"
	"io"
	"iter"

	"github.com/quipudb/quipu/blob"
)

// Store is cold storage; *blob.Store is one.
type Store interface {
	List(ctx context.Context, prefix string) iter.Seq2[blob.Attributes, error]
	Upload(ctx context.Context, name string, write func(io.Writer) error) (blob.Info, error)
	Check(ctx context.Context, name string, want blob.Info) error
	Attributes(ctx context.Context, name string) (blob.Attributes, error)
	Reader(ctx context.Context, name string, size int64, cfg blob.ReaderConfig) *blob.Reader
	Delete(ctx context.Context, name string) error
}
